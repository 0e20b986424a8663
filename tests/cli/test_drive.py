"""`forceserver drive`: what is refused before it connects to anything. What it serves is tested with the peers."""

import pytest

BIAS = """[bias]
engine = "metadynamics"
time_step_fs = 1
variables = [{ name = "p_x", hills = false }]
restraints = [{ variable = "p_x", at = 0, kappa_eV = 1 }]
"""


@pytest.mark.parametrize(
    ("old", "new", "arguments", "message"),
    [
        ('[socket]\nmode = "unix"\naddress = "al"', "[driver]", [], "unknown key"),
        ("[potential]", "[driver]\n[unused]", [], "unused: unknown key"),
        ("", "", ["--role", "cv"], "does not configure the role cv"),
        ("", "", ["--host", "node1"], "--host node1: "),
        ("[socket]", f"{BIAS}[socket]", [], "section [bias_socket] is missing: it says where i-PI expects the bias"),
        ("", "", ["--role", "window"], "'force', 'bias', 'cv'"),
        ("EMT", "EMT3", [], "has no 'EMT3'"),
        ('file = "al.extxyz"', 'file = "input.xml"', [], "in a format that ASE does not recognise"),
    ],
)
def test_bad_input(aluminium, old, new, arguments, message):
    aluminium.write_config(old, new)
    run = aluminium.run_here("drive", *arguments, aluminium.config)
    assert run.returncode == 2
    assert message in " ".join(run.stderr.replace("│", " ").split())


def test_a_socket_is_needed(aluminium):
    text = aluminium.config.read_text()
    aluminium.config.write_text(text[: text.index("[socket]")])
    run = aluminium.run_here("drive", aluminium.config)
    assert run.returncode == 2
    assert "section [socket] is missing: it says where the server listens" in run.stderr


def test_a_potential_is_needed(aluminium):
    text = aluminium.config.read_text()
    aluminium.config.write_text(text.replace(text[text.index("[potential]") : text.index("[socket]")], ""))
    for command in (["drive"], ["evaluate", aluminium.folder / "al.extxyz"]):
        run = aluminium.run_here(command[0], aluminium.config, *command[1:])
        assert run.returncode == 2
        assert "section [potential] is missing" in run.stderr


def test_no_server_within_the_deadline(aluminium):
    aluminium.write_config("[simulation]", "[driver]\nconnect_deadline_seconds = 0.2\n[simulation]")
    run = aluminium.run_here("drive", aluminium.config)
    assert run.returncode == 2
    assert "no server at" in run.stderr


def test_the_host_of_the_server_can_be_named(aluminium):
    inet = '[driver]\nconnect_deadline_seconds = 0.2\n[socket]\nmode = "inet"\naddress = "127.0.0.1"\nport = 1'
    text = aluminium.config.read_text()
    aluminium.config.write_text(text[: text.index("[socket]")] + inet)
    run = aluminium.run_here("drive", "--host", "127.0.0.2", aluminium.config)
    assert run.returncode == 2
    assert "no server at 127.0.0.2:1" in run.stderr


CLOSING_CALCULATOR = """
from pathlib import Path
from ase.calculators.emt import EMT


class Closing(EMT):
    def __init__(self, marker):
        super().__init__()
        self.marker = Path(marker)

    def close(self):
        self.marker.touch()
"""


def test_the_potential_is_closed_however_it_ends(aluminium, monkeypatch):
    (aluminium.folder / "closing.py").write_text(CLOSING_CALCULATOR)
    monkeypatch.syspath_prepend(aluminium.folder)
    marker = aluminium.folder / "closed"
    aluminium.write_config('"ase.calculators.emt.EMT"', f'"closing.Closing"\narguments = {{ marker = "{marker}" }}')
    text = aluminium.config.read_text()
    aluminium.config.write_text(text + "\n[driver]\nconnect_deadline_seconds = 0.1\n")
    run = aluminium.run_here("drive", aluminium.config)
    assert run.returncode == 2, run.stderr
    assert "no server at" in run.stderr
    assert marker.exists()
