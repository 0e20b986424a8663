"""The embedded bias against PLUMED: its stored output everywhere, PLUMED itself where there is a kernel."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from plumed_metad import CASES, DATA, KT, Case, run

from forceserver.bias.config import MetadynamicsConfig
from forceserver.bias.grid import HillSum
from forceserver.bias.hills import read_hills
from forceserver.units import BOLTZMANN_EV_PER_K

source = pytest.mark.parametrize("source", ["stored", pytest.param("kernel", marks=pytest.mark.plumed)])

METAD = {
    "metad_1d": {"sigma": [0.15], "height_eV": 0.02, "pace_steps": 2, "bias_factor": 6},
    "metad_2d": {"sigma": [0.15, 0.2], "height_eV": 0.03, "pace_steps": 3, "bias_factor": 8},
    "metad_3d": {"sigma": [0.2, 0.25, 0.3], "height_eV": 0.05, "pace_steps": 1, "bias_factor": 10},
    "metad_untempered": {"sigma": [0.15], "height_eV": 0.002, "pace_steps": 1},
    "metad_grid": {"sigma": [0.25, 0.3], "height_eV": 0.03, "pace_steps": 3, "bias_factor": 8},
}


pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def plumed_output(name: str, source: str) -> dict[str, np.ndarray]:
    if source == "stored":
        return dict(np.load(DATA / f"{name}.npz"))
    with tempfile.TemporaryDirectory() as folder:
        return run(CASES[name], Path(folder))


def section(case: Case, folder: Path, **more) -> MetadynamicsConfig:
    sigma = more.pop("sigma", [None] * len(case.names))
    variables = [
        {"name": name, "sigma": width, **({"domain": ["-pi", "pi"]} if name in case.periodic else {})}
        for name, width in zip(case.names, sigma, strict=True)
    ]
    for variable, changes in zip(variables, more.pop("axes", [{}] * len(variables)), strict=True):
        variable.update(changes)
    if "height_eV" in more:
        keys = ("height_eV", "pace_steps", "bias_factor", "grid")
        hills = {key: more.pop(key) for key in keys if key in more}
        more["hills"] = {"temperature_K": KT / BOLTZMANN_EV_PER_K, "grid": "none", "file": folder / "HILLS", **hills}
    files = {"clock_file": folder / "BIAS.clock", "colvar_file": folder / "COLVAR", "file_energy_unit": "eV"}
    settings = {"engine": "metadynamics", "time_step_fs": 1.0, "variables": variables, **files, **more}
    return MetadynamicsConfig(**settings)


def follow(bias, trajectory):
    energies, gradients = [], []
    for s in trajectory:
        bias.advance(s)
        energy, gradient = bias.compute(s)
        energies.append(energy)
        gradients.append(gradient)
    return np.array(energies), np.array(gradients)


@source
@pytest.mark.parametrize("name", ["metad_1d", "metad_2d", "metad_3d", "metad_untempered"])
def test_without_a_grid_bias_and_force_agree_to_1e_9(name, source, tmp_path):
    expected, case = plumed_output(name, source), CASES[name]
    bias = section(case, tmp_path, **METAD[name]).build()
    energies, gradients = follow(bias, case.trajectory())
    np.testing.assert_allclose(energies, expected["bias"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(gradients, expected["gradient"], rtol=0, atol=1e-9)
    assert energies[-1] > 0.01  # there was something to agree on

    theirs = tmp_path / "theirs"
    theirs.write_text(str(expected["HILLS"]))
    hills, reference = read_hills(tmp_path / "HILLS"), read_hills(theirs)
    n = len(hills)
    assert 998 <= n == len(reference) - 1  # ours is written when the next configuration comes
    assert hills.variables == reference.variables
    for ours, other in (
        (hills.times, reference.times),
        (hills.centres, reference.centres),
        (hills.heights, reference.heights),
    ):
        np.testing.assert_allclose(ours, other[:n], rtol=1e-9, atol=1e-15)
    headers = [
        [line for line in text.splitlines() if line.startswith("#!")]
        for text in ((tmp_path / "HILLS").read_text(), str(expected["HILLS"]))
    ]
    assert headers[0] == headers[1]


def exact_gradients(case: Case, file: Path) -> np.ndarray:
    """Of the hills in the file, each from the step after its own on, summed one by one."""
    hills, gradients = read_hills(file), []
    total = HillSum(hills.variables)
    for step, s in enumerate(case.trajectory()):
        gradients.append(total.evaluate(s)[1])
        now = np.flatnonzero(np.round(hills.times * 1000) == step)
        factor = (hills.bias_factors[now] - 1) / hills.bias_factors[now]
        total.add(hills.centres[now], hills.sigmas[now], hills.heights[now] * factor)
    return np.array(gradients)


@source
def test_on_a_grid_bias_and_reweighting_factor_agree_within_the_interpolation(source, tmp_path):
    expected, case = plumed_output("metad_grid", source), CASES["metad_grid"]
    axes = [{"lower": -2, "upper": 2, "bins": 200}, {"bins": 250}]
    bias = section(case, tmp_path, grid="fixed", axes=axes, **METAD["metad_grid"]).build()
    energies, gradients = follow(bias, case.trajectory())
    np.testing.assert_allclose(energies, expected["bias"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(gradients, expected["gradient"], rtol=0, atol=2e-3)
    assert np.max(energies) > 0.1
    exact = exact_gradients(case, tmp_path / "HILLS")
    ours, theirs = (np.sqrt(np.mean((g - exact) ** 2)) for g in (gradients, expected["gradient"]))
    assert ours < 0.5 * theirs
    ours = np.loadtxt(tmp_path / "COLVAR")[:, 4]
    theirs = np.array([line.split()[1] for line in str(expected["RCT"]).splitlines()[1:]], dtype=float)
    # PLUMED's c(t) at a step is that after its hill, ours that of the bias which acts at the step
    np.testing.assert_allclose(ours[1:], theirs[:-1], rtol=0, atol=1e-5)


@source
def test_walls_and_restraints_agree_to_1e_9(source, tmp_path):
    expected, case = plumed_output("restraints", source), CASES["restraints"]
    walls = [
        {"variable": "a", "side": "upper", "at": 0.3, "kappa_eV": 1.5, "exponent": 3, "epsilon": 0.8, "offset": 0.1},
        {"variable": "a", "side": "lower", "at": -0.2, "kappa_eV": 2.5, "offset": 0.05},
        {"variable": "b", "side": "lower", "at": 0.1, "kappa_eV": 1.0, "exponent": 4, "epsilon": 0.5},
    ]
    moving = [{"variable": "b", "steps": [20, 120, 180], "at": [-3, 3, 1], "kappa_eV": [1, 4, 2]}]
    restraints = [{"variable": "c", "at": 0.4, "kappa_eV": 3, "slope_eV": 0.2}]
    parts = {"walls": walls, "moving_restraints": moving, "restraints": restraints}
    energies, gradients = follow(section(case, tmp_path, **parts).build(), case.trajectory())
    np.testing.assert_allclose(energies, expected["bias"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(gradients, expected["gradient"], rtol=0, atol=1e-9)

    ours = np.loadtxt(tmp_path / "COLVAR")[:, -1]
    theirs = np.array([line.split()[1] for line in str(expected["WORK"]).splitlines()[1:]], dtype=float)
    # at step 120 PLUMED's centre jumps by one period, which it takes for work
    np.testing.assert_allclose(ours[:120], theirs[:120], rtol=1e-9, atol=1e-9)
    assert abs(ours[119]) > 0.1


@source
def test_one_sided_moving_restraints_agree_to_1e_9(source, tmp_path):
    expected, case = plumed_output("one_sided", source), CASES["one_sided"]
    path = {"steps": [0, 100], "at": [-0.5, 0.5], "kappa_eV": [1, 1]}
    moving = [{"variable": "a", "side": "below", **path}, {"variable": "c", "side": "above", **path}]
    energies, gradients = follow(section(case, tmp_path, moving_restraints=moving).build(), case.trajectory())
    np.testing.assert_allclose(energies, expected["bias"], rtol=0, atol=1e-9)
    # where such a restraint does not act, PLUMED 2.10 leaves the force of the step before in place; ours is zero
    acts = gradients != 0
    assert 100 < acts.sum() < acts.size - 100
    np.testing.assert_allclose(gradients[acts], expected["gradient"][acts], rtol=0, atol=1e-9)


@pytest.mark.plumed
def test_plumed_continues_our_hills(tmp_path):
    case = CASES["metad_2d"]
    bias = section(case, tmp_path, **METAD["metad_2d"]).build()
    trajectory = case.trajectory()
    follow(bias, trajectory)
    bias.close()
    restart = Case(case.names, case.periodic, (case.lines[0] + " RESTART=YES",), 3, 77)
    found = run(restart, tmp_path)  # three steps: no hill is added before the last force
    again = section(case, tmp_path / "x", **METAD["metad_2d"], colvar_file=None)
    (tmp_path / "x").mkdir()
    text = (tmp_path / "HILLS").read_text().splitlines(keepends=True)
    (tmp_path / "x" / "HILLS").write_text("".join(text[: 6 + 999]))
    energies, gradients = follow(again.build(), restart.trajectory())
    np.testing.assert_allclose(found["bias"], energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["gradient"], gradients, rtol=0, atol=1e-9)
    assert energies[0] > 0.1
