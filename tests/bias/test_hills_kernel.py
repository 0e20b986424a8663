"""The kernels that sum hills: directly, and on a grid of Hermite data."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forceserver import _ext

hills = _ext.kernel("hills")
A = 1 / (1 - np.exp(-hills.cutoff))
B = 1 - A


def reference(centres, sigmas, heights, period, s):
    """The sum in numpy, from the definition."""
    d = s - centres
    with np.errstate(invalid="ignore", divide="ignore"):
        d = d - np.where(period > 0, period * np.round(d / np.where(period > 0, period, 1)), 0)
    q = 0.5 * np.sum((d / sigmas) ** 2, axis=1)
    inside = q < hills.cutoff
    value = np.sum(heights * (A * np.exp(-q) + B) * inside)
    gradient = -np.sum((heights * A * np.exp(-q) * inside)[:, None] * d / sigmas**2, axis=0)
    return value, gradient


def random_hills(rng, n, dim):
    return (
        rng.uniform(-1, 1, (n, dim)),
        rng.uniform(0.2, 0.5, (n, dim)),
        rng.uniform(-0.5, 1, n),
        np.where(rng.random(dim) < 0.5, 2.0, 0.0),
    )


class Grid:
    def __init__(self, dim, bins, period):
        self.period = period
        self.shape = np.array([bins + (p == 0) for p in period])
        self.first = np.zeros(dim, dtype=int)
        self.origin = np.full(dim, -1.0)
        self.spacing = np.full(dim, 2.0 / bins)
        self.table = np.zeros((np.prod(self.shape), 2**dim))

    @property
    def layout(self):
        return self.shape, self.first, self.origin, self.spacing, self.period


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(0, 20))
def test_direct_sum_is_the_definition(seed, dim, n):
    rng = np.random.default_rng(seed)
    centres, sigmas, heights, period = random_hills(rng, n, dim)
    s, gradient = rng.uniform(-1, 1, dim), np.full(dim, np.nan)
    value = hills.sum_direct(centres, sigmas, heights, period, s, gradient)
    expected, expected_gradient = reference(centres, sigmas, heights, period, s)
    assert value == pytest.approx(expected, abs=1e-13)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_on_a_node_the_grid_has_the_value_and_gradient_of_the_sum(seed, dim):
    rng = np.random.default_rng(seed)
    centres, sigmas, heights, period = random_hills(rng, 5, dim)
    grid = Grid(dim, 12, period)
    hills.add(grid.table, *grid.layout, centres, sigmas, heights)
    node = np.array([rng.integers(n) for n in grid.shape])
    s, gradient = grid.origin + node * grid.spacing, np.empty(dim)
    value = hills.interpolate(grid.table, *grid.layout, s, gradient)
    expected, expected_gradient = reference(centres, sigmas, heights, period, s)
    assert value == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-11)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_gradient_is_the_derivative_of_the_interpolant(dim):
    rng = np.random.default_rng(dim)
    period = np.array([0.0, 2.0, 0.0])[:dim]
    centres, sigmas, heights, _ = random_hills(rng, 6, dim)
    grid = Grid(dim, 9, period)
    hills.add(grid.table, *grid.layout, centres, sigmas, heights)
    scratch, h = np.empty(dim), 1e-6
    for _ in range(50):
        s, gradient = rng.uniform(-0.99, 0.99, dim), np.empty(dim)
        hills.interpolate(grid.table, *grid.layout, s, gradient)
        for k in range(dim):
            up, down = s.copy(), s.copy()
            up[k] += h
            down[k] -= h
            slope = hills.interpolate(grid.table, *grid.layout, up, scratch) - hills.interpolate(
                grid.table, *grid.layout, down, scratch
            )
            assert gradient[k] == pytest.approx(slope / (2 * h), abs=2e-8)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_interpolation_error_falls_with_the_fourth_power_of_the_spacing(dim):
    period = np.zeros(dim)
    centre, sigma, height = np.zeros((1, dim)), np.full((1, dim), 0.5), np.ones(1)
    rng, errors = np.random.default_rng(1), []
    points = rng.uniform(-0.5, 0.5, (300, dim))  # away from the edge of the hill, where its slope jumps
    for bins in (16, 32):
        grid = Grid(dim, bins, period)
        hills.add(grid.table, *grid.layout, centre, sigma, height)
        exact = [reference(centre, sigma, height, period, s)[0] for s in points]
        found = [hills.interpolate(grid.table, *grid.layout, s, np.empty(dim)) for s in points]
        errors.append(np.max(np.abs(np.subtract(found, exact))))
    assert errors[1] < 1e-4
    assert 12 < errors[0] / errors[1] < 20


def test_hill_wider_than_the_period_counts_every_node_once():
    period = np.array([2.0])
    grid = Grid(1, 10, period)
    hill = np.array([[0.3]]), np.array([[1.0]]), np.array([1.0])
    hills.add(grid.table, *grid.layout, *hill)
    expected = [reference(*hill, period, np.array([x]))[0] for x in np.linspace(-1, 0.8, 10)]
    np.testing.assert_allclose(grid.table[:, 0], expected, atol=1e-14)


def test_node_values_do_not_depend_on_where_the_grid_ends():
    rng = np.random.default_rng(3)
    period = np.zeros(2)
    centres, sigmas, heights, _ = random_hills(rng, 20, 2)
    small, large = Grid(2, 20, period), Grid(2, 20, period)
    large.first, large.shape = np.array([-7, -3]), np.array([40, 36])
    large.table = np.zeros((40 * 36, 4))
    for grid in (small, large):
        hills.add(grid.table, *grid.layout, centres, sigmas, heights)
    inner = large.table.reshape(40, 36, 4)[7 : 7 + 21, 3 : 3 + 21]
    assert np.array_equal(inner, small.table.reshape(21, 21, 4))


def test_every_build_gives_the_same_numbers():
    levels = _ext.LEVELS[: _ext.LEVELS.index(_ext.isa) + 1] if _ext.isa in _ext.LEVELS else (_ext.isa,)
    rng, found = np.random.default_rng(8), []
    centres, sigmas, heights, _ = random_hills(rng, 30, 3)
    s, period = rng.uniform(-1, 1, 3), np.array([0.0, 2.0, 0.0])
    for level in levels:
        build, grid, gradient = (
            importlib.import_module(f"forceserver._ext.{level}.hills"),
            Grid(3, 10, period),
            np.empty(3),
        )
        build.add(grid.table, *grid.layout, centres, sigmas, heights)
        value = build.interpolate(grid.table, *grid.layout, s, gradient)
        found.append([value, *gradient, build.sum_direct(centres, sigmas, heights, period, s, gradient), *gradient])
    np.testing.assert_allclose(found, [found[0]] * len(found), rtol=1e-12, atol=1e-13)
