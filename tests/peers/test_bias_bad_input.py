"""What a bias says of input that is wrong, asked as users ask: by starting the program, i-PI or PLUMED."""

import subprocess
import sys
import time

import numpy as np
import pytest
from bias_runs import BIN, PACE, environment, prepare, start
from ipi_runs import ended
from plumed_runs import driver

from forceserver.bias.hills import read_hills
from forceserver.cv import build_variables, variable_section
from forceserver.cv_server import protocol as cv_protocol
from forceserver.cv_server.server import CVServer, CVServerConfig
from forceserver.errors import InputError
from forceserver.frame import Frame

HILLS = (
    "#! FIELDS time {0} {1} sigma_{0} sigma_{1} height biasf\n#! SET multivariate false\n"
    "#! SET kerneltype stretched-gaussian\n 0.0025 0.001 0.002 {2} {2} 0.05 10\n"
)


def drive(folder):
    """`forceserver drive` of what is refused: its exit code and what it says."""
    command = [sys.executable, "-m", "forceserver", "drive", "forceserver.toml"]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "p_x"', 'name = "q_x"', "no collective variable offers q_x; there are p_x, p_y, p_z"),
        ('centres = "Ti"', 'centres = "Sr"', "collective variable p: centres: no atom of species"),
        ('neighbours = "O"', "neighbours = [0]", "has no neighbour within 3 Angstrom in the structure file"),
        ("cutoff_angstrom = 3.0", "cutoff_angstrom = 1.2", "has no neighbour within 1.2 Angstrom"),
        ('grid = "none"', 'grid = "fixed"', "the grid needs lower and upper of p_x"),
    ],
)
def test_configuration(old, new, message, crystal, tmp_path):
    prepare(tmp_path / "run", crystal, "embedded", 1, 10)
    config = tmp_path / "run" / "forceserver.toml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    before = sorted(path.name for path in config.parent.iterdir())
    code, said = drive(tmp_path / "run")
    assert code == 2
    assert message in " ".join(said.split())
    assert "Traceback" not in said
    assert sorted(path.name for path in config.parent.iterdir()) == before, "nothing is written for a wrong input"


def test_a_start_off_the_grid_is_told_before_any_file_is_begun(crystal, tmp_path):
    prepare(tmp_path / "run", crystal, "embedded", 1, 10)
    config = tmp_path / "run" / "forceserver.toml"
    text = config.read_text().replace('grid = "none"', 'grid = "fixed"')
    config.write_text(text.replace("sigma =", "lower = 5, upper = 6, sigma ="))
    before = sorted(config.parent.iterdir())
    code, said = drive(tmp_path / "run")
    assert code == 2
    assert "in the structure file is off the grid, [5, 6]; change lower and upper" in " ".join(said.split())
    assert sorted(config.parent.iterdir()) == before


@pytest.mark.plumed
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "plumed_dat"),
        ("x: EXTRACV NAME=p_q\n", "no variable offers EXTRACV NAME=p_q; there are p_x, p_y, p_z"),
        ("x: EXTRACV NAME=p_x\nMETAD ARG=x SIGMA=1 HEIGHT=1 PACE=1 TEMPERATURE=3\n", "TEMPERATURE=3"),
        ("x: EXTRACV NAM=p_x\n", "EXTRACV without NAME"),
    ],
)
def test_plumed_dat(text, message, crystal, tmp_path):
    prepare(tmp_path / "run", crystal, "hosted", 1, 10)
    if text is None:
        (tmp_path / "run" / "plumed.dat").unlink()
    else:
        (tmp_path / "run" / "plumed.dat").write_text(text)
    code, said = drive(tmp_path / "run")
    assert code == 2
    assert message in " ".join(said.split())
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("hills", "message"),
    [
        (HILLS.format("p_x", "p_z", 0.004), "is a bias on p_x p_z, the configuration has p_x p_y"),
        (HILLS.format("p_x", "p_y", 0.005), "has hills of width [0.005 0.005], the configuration says [0.004 0.004]"),
        (HILLS.format("p_x", "p_y", 0.004).replace("false", "true"), "hills with a covariance (ADAPTIVE)"),
        ("#! FIELDS time x\n 1 2\n", "is not a HILLS file of METAD"),
    ],
)
def test_hills_of_something_else_are_refused_and_kept(hills, message, crystal, tmp_path):
    prepare(tmp_path / "run", crystal, "embedded", 1, 10)
    (tmp_path / "run" / "HILLS").write_text(hills)
    code, said = drive(tmp_path / "run")
    assert code == 2
    assert message in " ".join(said.split())
    assert (tmp_path / "run" / "HILLS").read_text() == hills


def test_a_truncated_hill_is_dropped_and_reported_and_the_run_goes_on(crystal, tmp_path):
    folder = tmp_path / "run"
    prepare(folder, crystal, "embedded", 1, 20)
    whole = HILLS.format("p_x", "p_y", 0.004)
    (folder / "HILLS").write_text(whole + " 0.005 0.001 0.0")
    server = start(folder, "log", sys.executable, "-m", "forceserver", "drive", "forceserver.toml")
    with ended(server, start(folder, "ipi.log", str(BIN / "i-pi"), "input.xml")) as (_, ipi):
        assert ipi.wait(120) == 0
        assert server.wait(20) == 0
    assert "dropped the incomplete last line ' 0.005 0.001 0.0'" in (folder / "log").read_text()
    assert (folder / "HILLS").read_text().startswith(whole)
    assert np.loadtxt(folder / "HILLS")[:, 0] == pytest.approx(0.0025 * np.arange(1, 6))


@pytest.mark.long
def test_leaving_the_grid_ends_with_the_name_and_loses_nothing(crystal, tmp_path):
    """i-PI waits; with a grid that may grow, the run goes on as if nothing had been."""
    folder = tmp_path / "run"
    prepare(folder, crystal, "embedded", 1, 60)
    config = folder / "forceserver.toml"
    text = config.read_text().replace('grid = "none"', 'grid = "fixed"')
    centre = build_variables([variable_section(_cv(text))], Frame.from_ase(crystal))["p"]
    x, y = centre.compute(Frame.from_ase(crystal)).values[:2]
    axes = [f"lower = {v - 0.012}, upper = {v + 0.012}" for v in (x, y)]
    for name, axis in zip(("p_x", "p_y"), axes, strict=True):
        text = text.replace(f'name = "{name}", sigma', f'name = "{name}", {axis}, sigma')
    config.write_text(text + "\n[driver]\nmax_consecutive_failures = 2\n")
    with ended(start(folder, "ipi.log", str(BIN / "i-pi"), "input.xml")) as processes:
        ipi = processes[0]
        server = start(folder, "log", sys.executable, "-m", "forceserver", "drive", "forceserver.toml")
        processes.append(server)
        assert server.wait(120) == 1
        said = (folder / "log").read_text()
        assert "collective variable p_" in said
        assert "has left the grid, [" in said
        before = (folder / "HILLS").read_text()
        assert ipi.poll() is None
        config.write_text(config.read_text().replace('grid = "fixed"', 'grid = "grow"'))
        processes.append(start(folder, "log", sys.executable, "-m", "forceserver", "drive", "forceserver.toml"))
        assert ipi.wait(120) == 0
    after = (folder / "HILLS").read_text()
    assert after.startswith(before)
    times = np.loadtxt(folder / "HILLS")[:, 0]
    assert times == pytest.approx(0.0005 * PACE * np.arange(1, 60 // PACE))


def _cv(config):
    try:
        import tomllib
    except ImportError:
        import tomli as tomllib
    return tomllib.loads(config)["cv"][0]


@pytest.mark.plumed
def test_adaptive_hills_of_plumed_are_refused(action, frames, tmp_path):
    text = "d: DISTANCE ATOMS=1,2\ne: DISTANCE ATOMS=1,3\n"
    text += "METAD ARG=d,e ADAPTIVE=GEOM SIGMA=0.01 HEIGHT=1 PACE=1 FILE=HILLS\n"
    run = driver(tmp_path, text, frames)
    assert run.returncode == 0, run.stdout
    with pytest.raises(InputError, match=r"hills with a covariance \(ADAPTIVE\) are not supported"):
        read_hills(tmp_path / "HILLS")
    done = subprocess.run(
        [sys.executable, "-m", "forceserver", "fes", "HILLS", "-T", "300"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "(ADAPTIVE)" in done.stderr


@pytest.mark.plumed
def test_server_and_action_of_different_versions(batio3, action, frames, tmp_path, monkeypatch):
    variables = build_variables([variable_section(_cv(_config(tmp_path, batio3)))], Frame.from_ase(batio3))
    monkeypatch.setattr(cv_protocol, "VERSION", 3)
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables) as server:
        begin = time.monotonic()
        run = driver(tmp_path, f"LOAD FILE={action}\nFORCESERVER ADDRESS={server.address} CV=p\n", frames)
    assert time.monotonic() - begin < 20
    assert run.returncode != 0
    assert "the action speaks version 2 of the protocol, this server version 3" in run.stdout + run.stderr


def _config(folder, atoms):
    prepare(folder / "config", atoms, "action", 1, 1)
    return (folder / "config" / "forceserver.toml").read_text()
