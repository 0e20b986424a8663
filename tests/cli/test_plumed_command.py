"""`forceserver plumed`, and the sections that speak of variables and biases."""

import subprocess
import sys
from pathlib import Path

import pytest
from ase.io import write
from polarization import TOML_P

from forceserver.bias.atomic import AtomicBias
from forceserver.bias.choice import build_bias
from forceserver.bias.plumed.host import PlumedBias
from forceserver.configuration import read_configuration
from forceserver.cv import build_variables
from forceserver.errors import InputError
from forceserver.frame import Frame

AUTO = """
[bias_socket]
mode = "unix"
address = "bias"

[bias]
engine = "auto"

[bias.plumed]
plumed_dat = "plumed.dat"
time_step_fs = 1.0

[bias.metadynamics]
time_step_fs = 1.0
variables = [{ name = "p_x", sigma = 0.1 }]
restraints = [{ variable = "p_x", at = 0.0, kappa_eV = 2.0 }]
"""


@pytest.fixture
def settings_of(batio3, tmp_path, monkeypatch):
    """A function that reads a configuration with this text."""
    monkeypatch.chdir(tmp_path)
    write("batio3.extxyz", batio3)
    Path("plumed.dat").write_text("x: EXTRACV NAME=p_x\nRESTRAINT ARG=x AT=0 KAPPA=192.97066\n")

    def settings_of(text):
        Path("forceserver.toml").write_text(text)
        return read_configuration(tmp_path / "forceserver.toml")

    return settings_of


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "forceserver", "plumed", *arguments], capture_output=True, text=True)


def test_path_is_that_of_the_action():
    done = run("path")
    assert done.returncode == 0
    assert "PLUMED_REGISTER_ACTION" in Path(done.stdout.strip()).read_text()


@pytest.mark.plumed
def test_build_prints_the_library_that_it_wrote(tmp_path):
    done = run("build", "-o", str(tmp_path / "new" / "action.so"))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path / "new" / "action.so"
    assert Path(done.stdout.strip()).stat().st_size > 10_000


@pytest.mark.plumed
def test_auto_takes_plumed(settings_of, batio3):
    settings = settings_of(TOML_P + AUTO)
    bias = build_bias(settings.bias, build_variables(settings.cv, Frame.from_ase(batio3)), Frame.from_ase(batio3))
    assert isinstance(bias, PlumedBias)
    bias.close()


def test_auto_takes_the_embedded_engine_without_plumed(settings_of, batio3, monkeypatch, caplog):
    monkeypatch.setenv("PLUMED_KERNEL", "/nonexistent/libplumedKernel.so")
    settings = settings_of(TOML_P + AUTO)
    frame = Frame.from_ase(batio3)
    bias = build_bias(settings.bias, build_variables(settings.cv, frame), frame)
    assert isinstance(bias, AtomicBias)
    assert "there is no such file" in caplog.text
    result = bias.compute_one(frame)
    assert result.energy == pytest.approx(result.extras["p_x"] ** 2)
    bias.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[structure]\nfile = "batio3.extxyz"\n[cv_server]\naddress = "/tmp/x"\n', "at least one"),
        (TOML_P + '[bias_socket]\nmode = "unix"\naddress = "bias"\n', "nothing to serve: give .bias."),
        (TOML_P + AUTO.replace("plumed.dat", "none.dat"), "there is no file"),
        (TOML_P.replace('"Ti"', '"Tj"'), "no element 'Tj'"),
    ],
)
def test_what_does_not_fit_is_said(settings_of, text, message):
    with pytest.raises(InputError, match=message):
        settings_of(text)


def test_bias_on_a_variable_that_is_not_there(settings_of, batio3):
    settings = settings_of(TOML_P + AUTO.replace("p_x", "q_x"))
    frame = Frame.from_ase(batio3)
    with pytest.raises(InputError, match="no collective variable offers q_x; there are p_x, p_y, p_z"):
        build_bias(settings.bias.metadynamics, build_variables(settings.cv, frame), frame)
