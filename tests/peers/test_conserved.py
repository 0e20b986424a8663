"""Energy at constant energy with a bias that does not change, through every door, beside the run without bias."""

import numpy as np
import pytest
from ase.units import Hartree
from bias_runs import simulate

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


@pytest.mark.parametrize(
    ("steps", "beads"),
    [
        (400, 1),
        *(pytest.param(*long, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]) for long in ((8000, 1), (2000, 8))),
    ],
)
def test_no_bias_lets_the_energy_drift(steps, beads, crystal, tmp_path, request):
    from forceserver.bias.plumed_kernel import find_kernel

    simulate(tmp_path / "hills", crystal, "embedded", beads=1, steps=60)
    ways = [("embedded", None)]
    if find_kernel():
        ways += [("hosted", None), ("action", request.getfixturevalue("action"))]
    properties, _ = simulate(tmp_path / "none", crystal, "none", beads, steps, static="restraint")
    found = {"none": drift(properties, len(crystal))}
    for way, action in ways:
        for kind in "restraint", "hills":
            static = kind if kind == "restraint" else tmp_path / "hills" / "HILLS"
            folder = tmp_path / f"{way}-{kind}"
            properties, _ = simulate(folder, crystal, way, beads, steps, action, static)
            work = 1000 * Hartree * np.ptp(properties[:, 2])
            assert work > 30  # meV: the bias acts
            found[f"{way}, {kind}"] = drift(properties, len(crystal))
            assert found[f"{way}, {kind}"][2] < 0.01 * work  # the integrator's, of second order in the time step
    for name, (slope, error, rest) in found.items():
        print(f"{name:24} {slope:+.2e} +- {error:.1e} meV/atom/ps, rms {rest:.3f} meV")
    unbiased = found.pop("none")
    for name, (slope, error, _) in found.items():
        # Hills end at a finite distance, with a force that jumps there: no integrator is exact on them.
        allowed = 5e-3 if name.endswith("hills") else 0.0
        assert abs(slope) < abs(unbiased[0]) + allowed + 4 * np.hypot(error, unbiased[1]), name
