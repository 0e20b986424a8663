"""`forceserver init`: what it writes passes `check` and runs in i-PI as it is."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

EMT = "ase.calculators.emt.EMT"


@pytest.fixture
def copper(aluminium):
    """A folder with a structure and nothing else of what `init` writes."""
    bulk("Cu", cubic=True).write(aluminium.folder / "cu.cif")
    return aluminium


def init(case, *arguments, structure="cu.cif", model=EMT):
    return case.run_here("init", case.folder / structure, model, "--folder", case.folder / "a run", *arguments)


def matrices(beads: int) -> str:
    """White noise on every normal mode, written as PIGLET is: i-PI does not know the difference."""
    damping, temperature = np.eye(2) * 1e-3, np.eye(2) * 300.0
    numbers = [
        "[ " + ", ".join(map(str, np.tile(matrix, (beads, 1, 1)).ravel())) + " ]" for matrix in (damping, temperature)
    ]
    shape = f"shape='({beads},2,2)'"
    return f"<!-- made for i-PI -->\n<A {shape}>{numbers[0]}</A>\n<C {shape} units='kelvin'>{numbers[1]}</C>\n"


def written(case, arguments) -> str:
    """The input that `init` writes, and that `check` has nothing against."""
    (case.folder / "gle.xml").write_text(matrices(2))
    arguments = [case.folder / "gle.xml" if word == "gle.xml" else word for word in arguments]
    run = init(case, *arguments, "--steps", 10)
    assert run.returncode == 0, run.stderr
    folder = case.folder / "a run"
    assert f"next: forceserver check '{folder}/config.toml'" in run.stdout
    checked = case.run_here("check", folder / "config.toml")
    assert checked.returncode == 0, checked.stdout
    assert "wrong" not in checked.stdout
    return (folder / "input.xml").read_text()


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [
        (("--ensemble", "nve"), "nve"),
        ((), "langevin"),
        (("--beads", 2, "--ensemble", "npt"), "isotropic"),
    ],
)
def test_check_has_nothing_against_it(copper, arguments, mode):
    assert f"mode='{mode}'" in written(copper, arguments)


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [
        pytest.param(("--ensemble", "npt", "--pressure", 1), "isotropic", marks=pytest.mark.long),
        (("--beads", 2), "pile_g"),
        pytest.param(("--beads", 2, "--piglet", "gle.xml"), "nm_gle", marks=pytest.mark.long),
    ],
    ids=["npt", "pimd", "piglet"],
)
def test_runs_as_written(copper, arguments, mode):
    assert f"mode='{mode}'" in written(copper, arguments)
    launched = copper.run_here("launch", copper.folder / "a run" / "config.toml")
    assert launched.returncode == 0, launched.stderr
    rows = np.loadtxt(copper.folder / "a run" / "out.properties")
    assert rows[:, 0].tolist() == [0, 10]
    assert np.isfinite(rows).all()


def test_a_molecule_with_deuterium_keeps_its_masses(copper):
    text = (
        "3\n# CELL(abcABC): 20 20 20 90 90 90 positions{angstrom} cell{angstrom}\nO 0 0 0\nD 0 0 0.96\nH 0.93 0 -0.24\n"
    )
    (copper.folder / "hdo.xyz").write_text(text)
    run = init(copper, structure="hdo.xyz")
    assert run.returncode == 0, run.stderr
    text = (copper.folder / "a run" / "input.xml").read_text()
    assert "<masses mode='manual' units='dalton'> [15.999000, 2.014100, 1.008000] </masses>" in text
    assert "<timestep units='femtosecond'> 0.5 </timestep>" in text
    assert copper.run_here("check", copper.folder / "a run" / "config.toml").returncode == 0


def test_a_cluster_gets_a_box(copper):
    Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]).write(copper.folder / "cu2.xyz")
    assert init(copper, structure="cu2.xyz").returncode == 0
    checked = copper.run_here("check", copper.folder / "a run" / "config.toml")
    assert checked.returncode == 0, checked.stdout
    run = init(copper, "--ensemble", "npt", "-f", copper.folder / "other", structure="cu2.xyz")
    assert run.returncode == 2
    assert "the structure is not periodic" in run.stderr


def test_a_port(copper):
    assert init(copper, "--port", 31999).returncode == 0
    text = (copper.folder / "a run" / "input.xml").read_text()
    assert "mode='inet'> <address>0.0.0.0</address> <port>31999</port>" in text
    assert "port = 31999" in (copper.folder / "a run" / "config.toml").read_text()


def test_nothing_is_overwritten(copper):
    assert init(copper).returncode == 0
    before = (copper.folder / "a run" / "input.xml").read_bytes()
    run = init(copper, "--steps", 7)
    assert run.returncode == 2
    assert "exists already" in run.stderr
    assert (copper.folder / "a run" / "input.xml").read_bytes() == before


@pytest.mark.parametrize(
    ("model", "section"),
    [
        ("si.pt", 'kind = "metatomic"\nmodel = "{folder}/si.pt"'),
        ("si.model", 'kind = "mace"\nmodel = "{folder}/si.model"'),
    ],
)
def test_kinds_of_models(copper, model, section):
    (copper.folder / model).write_bytes(b"")
    run = init(copper, model=copper.folder / model)
    assert run.returncode == 0, run.stderr
    assert section.format(folder=copper.folder) in (copper.folder / "a run" / "config.toml").read_text()


def test_kinds_of_models_of_this_program(copper, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "potentials")
    from ace_models import some_ace
    from gap_models import some_model

    for kind, content in (("gap", some_model((29,))), ("ace", some_ace((29,), functions=20))):
        content.save(copper.folder / "cu.npz")
        structure, model = copper.folder / "cu.cif", copper.folder / "cu.npz"
        run = copper.run_here("init", structure, model, "--folder", copper.folder / f"{kind} run")
        assert run.returncode == 0, run.stderr
        section = f'kind = "{kind}"\nmodel = "{copper.folder}/cu.npz"'
        assert section in (copper.folder / f"{kind} run" / "config.toml").read_text()


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("absent.npz", (), "no such file"),
        ("al.extxyz", (), "its kind is not known from the suffix"),
        (EMT, ("--piglet", "/absent"), "gle4md.org"),
        (EMT, ("--piglet", "gle.xml"), "--beads of 2 or more"),
        (EMT, ("--piglet", "gle.xml", "--beads", 4), "the matrices are for 2 beads, not for 4"),
        (EMT, ("--piglet", "cu.cif", "--beads", 2), "has no <A> and <C>"),
    ],
)
def test_what_does_not_fit_is_refused(copper, model, arguments, message):
    (copper.folder / "gle.xml").write_text(matrices(2))
    arguments = [copper.folder / word if word in ("gle.xml", "cu.cif") else word for word in arguments]
    run = init(copper, *arguments, model=copper.folder / model if "ext" in model else model)
    assert run.returncode == 2
    assert message in " ".join(run.stderr.split())
    assert not (copper.folder / "a run").exists()


def test_the_list_of_commands_has_room_for_its_summaries(copper, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    commands = copper.run_here("--help").stdout.partition("Commands:")[2]
    assert "  fit       Train a potential: a kernel model or a cluster expansion." in commands
    assert "..." not in commands


def test_help_keeps_sections_and_fits_a_terminal(copper, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("drive", "launch", "check", "init", "fit", "fes", "evaluate", "describe", "demo"):
        text = copper.run_here(command, "--help").stdout
        assert max(map(len, text.splitlines())) <= 80, command
    assert "[cv_server]" in copper.run_here("drive", "--help").stdout.replace("\n", " ")


def test_completion():
    variables = {"_FORCESERVER_COMPLETE": "complete_bash", "COMP_WORDS": "forceserver lau", "COMP_CWORD": "1"}
    program = Path(sys.executable).with_name("forceserver")
    run = subprocess.run([program], env={**os.environ, **variables}, capture_output=True, text=True, timeout=120)
    assert run.stdout.split() == ["launch"]
