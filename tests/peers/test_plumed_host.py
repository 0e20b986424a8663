"""`forceserver drive` with a CV server, as a user runs it, and PLUMED on the other side."""

import signal
import subprocess
import time

import numpy as np
import pytest
from ase.io import write
from plumed_runs import driver, start, table, write_config, write_xyz

from forceserver.bias.plumed.kernel import find_program, program_environment
from forceserver.configuration import read_configuration
from forceserver.cv import build_variables
from forceserver.frame import Frame

pytestmark = pytest.mark.plumed


@pytest.fixture
def config(batio3, tmp_path):
    write(tmp_path / "batio3.extxyz", batio3)
    path = tmp_path / "forceserver.toml"
    write_config(path, tmp_path / "cv.sock")
    return path


def test_values_of_the_process_are_those_of_the_library(config, action, batio3, tmp_path):
    server = start(config)
    try:
        run = driver(
            tmp_path,
            f"LOAD FILE={action}\np: FORCESERVER ADDRESS={tmp_path}/cv.sock CV=polarization\n"
            "PRINT ARG=p.x,p.y,p.z FILE=COLVAR FMT=%.14g\n",
            [batio3],
        )
        assert run.returncode == 0, run.stdout + run.stderr
    finally:
        server.terminate()
    assert server.wait(20) == 0
    assert not (tmp_path / "cv.sock").exists()
    colvar = table(tmp_path / "COLVAR")
    variables = build_variables(read_configuration(config).cv, Frame.from_ase(batio3))
    expected = variables["polarization"].compute(Frame.from_ase(batio3)).values
    np.testing.assert_allclose([colvar[f"p.{name}"][0] for name in "xyz"], expected, atol=1e-9)


def test_killed_server_that_comes_back_costs_plumed_nothing(config, action, batio3, tmp_path):
    """kill -9 in the middle of a trajectory, five times; metadynamics ends with the same hills as undisturbed."""
    frames = [batio3.copy() for _ in range(4000)]
    rng = np.random.default_rng(5)
    for atoms in frames:
        atoms.positions += rng.normal(0, 0.02, (40, 3))
    lines = [
        f"LOAD FILE={action}",
        f"p: FORCESERVER ADDRESS={tmp_path}/cv.sock CV=polarization",
        "METAD ARG=p.x,p.y SIGMA=0.01,0.01 HEIGHT=1 PACE=20 BIASFACTOR=10 TEMP=300 FILE=HILLS",
    ]
    (tmp_path / "plumed.dat").write_text("\n".join(lines) + "\n")
    write_xyz(tmp_path / "frames.xyz", frames)
    command = [find_program(), "--no-mpi", "driver", "--plumed", "plumed.dat", "--ixyz", "frames.xyz"]

    def run(kills):
        server = start(config)
        plumed = subprocess.Popen(
            [*command, "--length-units", "A"],
            cwd=tmp_path,
            env=program_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(kills):
            time.sleep(0.1)
            assert number > 0 or plumed.poll() is None, "PLUMED had finished before the first kill"
            server.send_signal(signal.SIGKILL)
            server.wait()
            server = start(config)
        output, _ = plumed.communicate(timeout=120)
        server.terminate()
        server.wait()
        assert plumed.returncode == 0, output
        hills = table(tmp_path / "HILLS")
        (tmp_path / "HILLS").unlink()
        return hills

    undisturbed, disturbed = run(0), run(5)
    assert len(undisturbed["time"]) == 199
    for name, column in undisturbed.items():
        np.testing.assert_allclose(disturbed[name], column, rtol=1e-12, err_msg=name)
