"""What i-PI makes of the ways to a bias: hills on the centroid, once every pace steps; energy."""

import numpy as np
import pytest
from ase.units import Hartree
from bias_runs import PACE, simulate

from forceserver.configuration import read_configuration
from forceserver.cv import build_variables
from forceserver.frame import Frame

STEPS = 60


def values_at(folder, positions, atoms) -> np.ndarray:
    """The x and y of the variable, from the library."""
    frame = Frame.from_ase(atoms)
    variable = build_variables(read_configuration(folder / "forceserver.toml").cv, frame)["p"]
    values = []
    for frame.positions in positions:
        values.append(variable.compute(frame).values[:2])
    return np.array(values)


WAYS = [pytest.param(way, marks=pytest.mark.plumed) for way in ("action", "hosted")] + ["embedded", "inside"]


@pytest.mark.parametrize("way", WAYS)
def test_hills_lie_on_the_centroid_once_every_pace_steps(way, crystal, tmp_path, request):
    action = request.getfixturevalue("action") if way == "action" else None
    properties, centroids = simulate(tmp_path / way, crystal, way, action=action)
    values = values_at(tmp_path / way, centroids, crystal)
    hills = np.loadtxt(tmp_path / way / "HILLS", ndmin=2)
    # The hill of the last step comes with the next configuration (bias driver), or with its end (i-PI's metad).
    assert len(hills) in (STEPS // PACE - 1, STEPS // PACE)
    steps = PACE * np.arange(1, len(hills) + 1)
    np.testing.assert_allclose(hills[:, 1:3], values[steps], atol=1e-5)  # i-PI writes positions with five decimals
    assert np.ptp(hills[:, 1]) > 1e-3
    assert abs(properties[:, 2] * Hartree).max() > 0.04
    if way != "action":
        printed = np.loadtxt(tmp_path / way / "out.cv_0").ravel()
        np.testing.assert_allclose(printed, values[:, 0], atol=1e-5)
        np.testing.assert_allclose(hills[:, 1], printed[steps], atol=1e-9)


@pytest.mark.plumed
def test_hosted_and_embedded_go_the_same_way(crystal, tmp_path):
    """The same trajectory, the same hills, to what PLUMED's unit conversions leave."""
    runs = {way: simulate(tmp_path / way, crystal, way, beads=2) for way in ("hosted", "embedded")}
    hosted, embedded = (np.loadtxt(tmp_path / way / "HILLS", ndmin=2) for way in ("hosted", "embedded"))
    n = min(len(hosted), len(embedded))
    assert n >= STEPS // PACE - 1
    np.testing.assert_allclose(hosted[:n, :6], embedded[:n, :6], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(runs["hosted"][0][:, 2], runs["embedded"][0][:, 2], atol=1e-7)


@pytest.mark.long
def test_a_bias_inside_ipi_is_the_one_behind_the_socket(crystal, tmp_path):
    """The same trajectory and files of the same bytes."""
    runs = {way: simulate(tmp_path / way, crystal, way, beads=2) for way in ("embedded", "inside")}
    for name in ("HILLS", "COLVAR"):
        assert (tmp_path / "inside" / name).read_bytes() == (tmp_path / "embedded" / name).read_bytes()
    np.testing.assert_array_equal(runs["inside"][0], runs["embedded"][0])
    np.testing.assert_array_equal(runs["inside"][1], runs["embedded"][1])
