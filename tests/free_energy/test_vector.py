"""Free energies of a vector, from samples of a distribution that is known."""

import numpy as np
import pytest

from forceserver.free_energy.vector import (
    CUBE,
    Vectors,
    agreement,
    along,
    lowest,
    of_length,
    of_short_ones,
    of_vector,
    on_diagonal_plane,
)

KT = 3.0
REACH = 0.24


def energy(s):
    """A double well for every component: minima at (±0.07, ±0.07, ±0.07), 8 above the centre between two of them."""
    return 8 * (((s / 0.07) ** 2 - 1) ** 2).sum(axis=-1)


def samples(n: int, bias=lambda s: 0.0, seed: int = 1) -> Vectors:
    """n independent vectors from exp(-(energy + bias) / kT), of which symmetry has to make those of negative x."""
    dice = np.random.default_rng(seed)
    proposal = dice.uniform(-0.15, 0.15, size=(60 * n, 3))
    proposal[:, 0] = np.abs(proposal[:, 0])
    total = energy(proposal) + bias(proposal)
    chosen = proposal[dice.uniform(size=len(proposal)) < np.exp(-(total - total.min()) / KT)][:n]
    assert len(chosen) == n
    return Vectors(np.arange(n) * 0.01, chosen, np.broadcast_to(bias(chosen) / KT, n), KT)


def flattening(s):
    return -0.7 * energy(s)


@pytest.fixture(scope="module")
def data():
    return samples(20000, flattening)


def test_the_group_of_the_cube():
    assert len({tuple(o.ravel()) for o in CUBE.round().astype(int)}) == 48
    np.testing.assert_allclose(CUBE @ CUBE.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (48, 3, 3)))
    assert np.linalg.det(CUBE).sum() == pytest.approx(0)


def test_length_per_volume(data):
    estimate = of_length(data, REACH, 24, 10)
    x, f, error = estimate.surface.nodes[0], estimate.surface.values, estimate.surface.errors
    sphere = np.random.default_rng(2).normal(size=(20000, 3))
    sphere /= np.linalg.norm(sphere, axis=1)[:, None]
    exact = np.array([-KT * np.log(np.mean(np.exp(-energy(r * sphere) / KT))) for r in x])
    known = np.isfinite(error) & (exact < exact.min() + 8 * KT)
    assert known.sum() > 12
    difference = (f - exact)[known]
    difference -= np.average(difference, weights=1 / error[known] ** 2)
    assert np.sqrt(np.mean((difference / error[known]) ** 2)) < 2
    assert x[np.argmin(f)] == pytest.approx(x[np.argmin(exact)], abs=0.011)


def test_the_centre(data):
    estimate = of_length(data, REACH, 24, 10)
    centre, error = of_short_ones(estimate, 0.04)
    ball = np.random.default_rng(3).uniform(-0.04, 0.04, size=(200_000, 3))
    ball = ball[np.linalg.norm(ball, axis=1) < 0.04]
    exact = -KT * np.log(np.mean(np.exp(-energy(ball) / KT)))
    x = estimate.surface.nodes[0]
    lowest_shell = np.argmin(estimate.surface.values)
    sphere = np.random.default_rng(2).normal(size=(20000, 3))
    sphere *= x[lowest_shell] / np.linalg.norm(sphere, axis=1)[:, None]
    reference = -KT * np.log(np.mean(np.exp(-energy(sphere) / KT)))
    assert abs(centre - (exact - reference)) < 4 * max(error, 0.3)


def test_map_and_directions_have_the_symmetry_and_the_depths(data):
    estimate = of_vector(data, 0.244, 61, 10, smoothing=1.0)
    values = estimate.surface.values
    np.testing.assert_allclose(values, values[::-1], atol=1e-9)
    np.testing.assert_allclose(values, values.transpose(1, 2, 0), atol=1e-9)
    ways = [lowest(estimate, way, (1, 1, 1)) for way in ((1, 1, 1), (0, 1, 1), (0, 0, 1))]
    assert [way.name for way in ways] == ["[111]", "[011]", "[001]"]
    assert ways[0].free_energy == 0
    for way, height in zip(ways, (0, 8, 16), strict=True):  # smoothing lowers saddles
        assert way.free_energy == pytest.approx(height, abs=0.1 * height + 3 * way.error)
    x, f = along(estimate, (1, 1, 1))
    assert x[np.argmin(f)] == pytest.approx(0.07 * np.sqrt(3), abs=0.015)
    reach = np.linspace(-0.16, 0.16, 81)
    plane = on_diagonal_plane(estimate, reach, reach)
    up, across = np.unravel_index(np.nanargmin(plane), plane.shape)
    assert abs(reach[up]) == pytest.approx(0.07 * np.sqrt(2), abs=0.01)
    assert abs(reach[across]) == pytest.approx(0.07, abs=0.01)


def test_halves_agree_if_they_are_of_one_distribution(data):
    first, second = (of_length(data.part(k, 2), REACH, 24, 5) for k in range(2))
    assert agreement(first, second, 8 * KT).within
    other = samples(10000, lambda s: -0.3 * energy(s), seed=3)
    wrong = of_length(Vectors(other.times, other.vectors, np.zeros(10000), KT), REACH, 24, 5)
    assert not agreement(first, wrong, 8 * KT).within
