"""Energy at constant energy with a bias that does not change, in every arrangement, beside the run without bias."""

import numpy as np
import pytest
from ase.units import Hartree
from bias_runs import FROZEN_CENTRES, FROZEN_SIGMA, simulate

from forceserver.bias.grid import REACH
from forceserver.bias.plumed.kernel import find_kernel
from forceserver.bias.tables import FieldsReader

PICOSECONDS = 0.5e-3  # of a step


def drift(properties, atoms):
    """Of the conserved quantity: slope in meV per atom and ps, its standard error, and the rms of the rest in meV."""
    energy = 1000 * Hartree * properties[:, 1]
    time = PICOSECONDS * np.arange(len(energy))
    slope, start = np.polyfit(time, energy, 1)
    rest = energy - slope * time - start
    halves = [np.polyfit(t, e, 1)[0] for t, e in zip(np.array_split(time, 8), np.array_split(energy, 8), strict=True)]
    # Eight independent pieces of an eighth of the length: slopes scatter as 8^1.5 times that of the whole.
    error = np.std(halves, ddof=1) / 8**1.5
    return slope / atoms, error / atoms, rest.std()


def farthest(colvar):
    """The largest distance of any configuration from any hill, in widths of a hill."""
    values = FieldsReader(colvar).read()[:, 1:3]
    return np.linalg.norm(values[:, None] - FROZEN_CENTRES, axis=-1).max() / FROZEN_SIGMA


@pytest.mark.long
@pytest.mark.parametrize(
    ("steps", "beads"),
    [
        (400, 1),
        *(pytest.param(*long, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]) for long in ((8000, 1), (2000, 8))),
    ],
)
def test_no_bias_lets_the_energy_drift(steps, beads, crystal, tmp_path, request):
    ways = [("embedded", None)]
    if find_kernel():
        ways += [("hosted", None), ("action", request.getfixturevalue("action"))]
    properties, _ = simulate(tmp_path / "none", crystal, "none", beads, steps, static="restraint")
    unbiased = drift(properties, len(crystal))
    found = {}
    for way, action in ways:
        for static in "restraint", "hills":
            folder = tmp_path / f"{way}-{static}"
            properties, _ = simulate(folder, crystal, way, beads, steps, action, static)
            work = 1000 * Hartree * np.ptp(properties[:, 2])
            assert work > 30  # meV: the bias acts
            found[f"{way}, {static}"] = drift(properties, len(crystal))
            assert found[f"{way}, {static}"][2] < 0.01 * work  # the integrator's, of second order in the time step
            if static == "hills":
                assert farthest(folder / "COLVAR") < REACH
    for name, (slope, error, rest) in {"none": unbiased, **found}.items():
        print(f"{name:24} {slope:+.2e} +- {error:.1e} meV/atom/ps, rms {rest:.3f} meV")
    for name, (slope, error, _) in found.items():
        assert abs(slope) < abs(unbiased[0]) + 4 * np.hypot(error, unbiased[1]), name
