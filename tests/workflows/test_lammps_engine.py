"""workflows/batio3/lammps as a user runs it: i-PI moves, LAMMPS computes the forces, the bias is ours or PLUMED's."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from forceserver.bias.plumed.kernel import find_kernel
from forceserver.configuration import read_configuration
from forceserver.cv import build_variables
from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.lammps.tables import export
from forceserver.potentials.lammps import LammpsConfig, load_library
from forceserver.potentials.model_files import load_potential

try:
    load_library()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

STUDY = Path(__file__).parents[2] / "workflows" / "batio3" / "lammps"
POTENTIAL = STUDY.parent / "potential" / "batio3.npz"
STEPS, PACE = 20, 5


@pytest.fixture
def study(tmp_path):
    """A copy with ports of its own, everything written at each step, and a hill every fifth."""
    folder = tmp_path / "study"
    shutil.copytree(STUDY, folder, ignore=shutil.ignore_patterns("results"))
    with socket.socket() as force, socket.socket() as variables:
        force.bind(("127.0.0.1", 0))
        variables.bind(("127.0.0.1", 0))
        ports = {"31415": force.getsockname()[1], "31417": variables.getsockname()[1]}
    changes = [
        (r"<total_steps>\d+", f"<total_steps>{STEPS}"),
        (r"stride='(10|200)'", "stride='1'"),
        (r"pace_steps = \d+", f"pace_steps = {PACE}"),
        (r"PACE=\d+", f"PACE={PACE}"),
        (r"STRIDE=\d+|(?<=colvar_stride_steps = )\d+", lambda match: re.sub(r"\d+", "1", match[0])),
        *((old, str(new)) for old, new in ports.items()),
    ]
    for path in (*folder.glob("*/*"), folder / "batio3.lmp"):
        text = path.read_text()
        for pattern, new in changes:
            text = re.sub(pattern, new, text)
        path.write_text(text)
    return folder


def run(study: Path, way: str, name: str, kernel: str | None = None, **variables: str) -> Path:
    """`run.sh`; the folder with the results. kernel: of PLUMED; none can be found if it is not given."""
    environment = {**os.environ, **variables, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment["PLUMED_KERNEL"] = kernel or "/nowhere/libplumedKernel.so"
    done = subprocess.run(
        [study / "run.sh", way, name], cwd=study, env=environment, capture_output=True, text=True, timeout=200
    )
    folder = study / name
    logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert f"results are in {name}" in done.stderr
    return folder


def trajectory(folder: Path) -> list[Frame]:
    return [Frame.from_ase(atoms) for atoms in read(folder / "batio3.pos_0.extxyz", ":")]


def hills(folder: Path) -> np.ndarray:
    """Time and centres."""
    return np.loadtxt(folder / "HILLS", ndmin=2)[:, :4]


def values(folder: Path, frames: list[Frame]) -> np.ndarray:
    variable = build_variables(read_configuration(folder / "forceserver.toml").cv, frames[0])["polarization"]
    return np.array([variable.compute(frame).values[:3] for frame in frames])


@pytest.mark.long
def test_forces_are_those_of_lammps_and_the_bias_is_ours(study):
    folder = run(study, "driver", "embedded")
    frames, out = trajectory(folder), np.loadtxt(folder / "batio3.out")
    assert len(frames) == len(out) == STEPS + 1

    script = (folder / "batio3.lmp").read_text()
    commands = re.findall(r"^(?:pair_style|pair_coeff|kspace_style).*", script, flags=re.MULTILINE)
    config = LammpsConfig(
        kind="lammps", species=["Ba", "Ti", "O"], charges={"Ba": 2, "Ti": 4, "O": -2}, commands=commands
    )
    lammps = config.build(frames[0])
    energies = [result.energy for result in lammps.compute(frames)]
    lammps.close()
    np.testing.assert_allclose(out[:, 3], energies, atol=1e-3)  # positions have eight digits, Ewald's sum five
    assert np.ptp(energies) > 1

    deposited = hills(folder)
    steps = PACE * np.arange(1, len(deposited) + 1)
    assert len(deposited) >= STEPS // PACE - 1
    np.testing.assert_allclose(deposited[:, 0], 2e-3 * steps, rtol=1e-12)
    np.testing.assert_allclose(deposited[:, 1:], values(folder, frames)[steps], atol=1e-6)
    assert out[PACE, 4] == 0
    assert out[2 * PACE, 4] > 0.005

    restart = folder / "RESTART"  # the same command goes on
    restart.write_text(re.sub(r"<total_steps>\d+", f"<total_steps>{2 * STEPS}", restart.read_text()))
    run(study, "driver", "embedded")
    more = hills(folder)
    np.testing.assert_array_equal(more[: len(deposited)], deposited)
    np.testing.assert_allclose(more[:, 0], 2e-3 * PACE * np.arange(1, len(more) + 1), rtol=1e-12)
    assert len(more) >= 2 * STEPS // PACE - 1
    np.testing.assert_array_equal(np.loadtxt(folder / "batio3.out")[:, 0], np.arange(2 * STEPS + 1))


@pytest.mark.slow
def test_our_model_on_two_ranks(study, pair_style):
    inputs = study / "model"
    shutil.copy(pair_style, inputs / "forceserverplugin.so")
    export(POTENTIAL, inputs / "batio3.npz")
    folder = run(study, "model", "run_model", RANKS="2")
    grid = re.search(r"(\d) by (\d) by (\d) MPI processor grid", (folder / "lammps.log").read_text())
    assert np.prod([int(n) for n in grid.groups()]) == 2
    frames, out = trajectory(folder), np.loadtxt(folder / "batio3.out")
    assert len(frames) == len(out) == STEPS + 1
    energies = [result.energy for result in load_potential(POTENTIAL).compute(frames)]
    np.testing.assert_allclose(out[:, 3], energies, atol=1e-4)  # positions have eight digits
    assert np.ptp(energies) > 0.1
    assert len(hills(folder)) >= STEPS // PACE - 1
    assert out[2 * PACE, 4] > 0.005


@pytest.mark.slow
@pytest.mark.plumed
def test_plumed_beside_i_pi_and_inside_it_adds_the_same_hills(study):
    embedded = hills(run(study, "driver", "embedded"))
    hosted = hills(run(study, "driver", "hosted", find_kernel()))
    n = min(len(embedded), len(hosted))
    assert n >= STEPS // PACE - 1
    np.testing.assert_allclose(hosted[:n], embedded[:n], atol=1e-4)  # they interpolate between grid points differently
    folder = run(study, "action", "action", find_kernel())
    inside, frames = hills(folder), trajectory(folder)
    steps = PACE * np.arange(1, len(inside) + 1)
    np.testing.assert_allclose(inside[:, 1:], values(folder, frames)[steps], atol=1e-6)
    np.testing.assert_allclose(inside[:n, 1:], embedded[:n, 1:], atol=1e-4)
    assert len(inside) >= n


@pytest.mark.slow
def test_large_cells_go_on_after_an_interruption(tmp_path, monkeypatch):
    """Frames that LAMMPS writes twice, before and after the interruption, count once."""
    for name in ("large_cells", "structures", "potential", "finite_size"):
        shutil.copytree(STUDY.parent / name, tmp_path / name)
    shutil.copy(STUDY.parent / "observables.py", tmp_path)
    folder, run = tmp_path / "large_cells", tmp_path / "large_cells" / "runs" / "4_185"
    text = (folder / "npt.lmp").read_text()
    (folder / "npt.lmp").write_text(text.replace("restart         500", "restart         20"))
    command = [sys.executable, "simulate.py", "--ranks", "1", "--only", "4_185"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run([*command, "--steps", "70"], cwd=folder, check=True, env={**os.environ, "PATH": path})
    (run / "end.restart").unlink()
    subprocess.run([*command, "--steps", "80"], cwd=folder, check=True, env={**os.environ, "PATH": path})
    steps = re.findall(r"TIMESTEP\n(\d+)", (run / "trajectory.lammpstrj").read_text())
    assert steps == ["0", "20", "40", "60", "60", "80"]
    monkeypatch.syspath_prepend(str(folder))
    from analysis import cost, polarisation

    s = polarisation(run)
    assert s.shape == (5, 3)
    assert np.all(np.linalg.norm(s, axis=1) > 0.06)  # it begins rhombohedral
    assert cost(run) > 0


def test_where_half_of_the_order_is_left(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDY.parent / "large_cells"))
    from analysis import half_order_kelvin

    order = {48: 0.08, 130: 0.12, 185: 0.09, 215: 0.06, 235: 0.04}
    table = {f"8_{kelvin}": {"sorted": [largest, 0.0, 0.0]} for kelvin, largest in order.items()}
    assert half_order_kelvin(table, 8) == pytest.approx(225)
    assert (
        half_order_kelvin({**table, "8_215": {"sorted": [0.06, 0, 0]}, "8_235": {"sorted": [0.055, 0, 0]}}, 8) is None
    )
    assert half_order_kelvin({}, 8) is None
