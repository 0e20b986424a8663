"""Minima, barriers, basins and paths on surfaces whose answers are known."""

import numpy as np
import pytest

from forceserver.bias.coordinates import Coordinate
from forceserver.errors import InputError
from forceserver.free_energy.landscape import find_landscape, maximum_flux_path
from forceserver.free_energy.region import parse_region
from forceserver.free_energy.surface import Surface


def surface_of(function, *ranges, domains=None, n=81):
    nodes = tuple(np.linspace(*r, n, endpoint=domains is None) for r in ranges)
    names = "xyz"[: len(ranges)]
    variables = tuple(Coordinate(name, r if domains else None) for name, r in zip(names, ranges, strict=True))
    return Surface(variables, nodes, function(*np.meshgrid(*nodes, indexing="ij")))


def test_double_well_in_one_dimension():
    surface = surface_of(lambda x: 5 * (x**2 - 1) ** 2 + 0.5 * x, (-2, 2))
    landscape = find_landscape(surface, 1.0)
    left, right = landscape.minima
    assert surface.point(left.index)[0] == pytest.approx(-1.0, abs=0.05)
    assert surface.point(right.index)[0] == pytest.approx(1.0, abs=0.05)
    assert right.value - left.value == pytest.approx(1.0, abs=0.02)
    (saddle,) = landscape.saddles
    assert saddle.adjacent
    assert saddle.value == pytest.approx(5.0, abs=0.02)
    assert surface.point(saddle.index)[0] == pytest.approx(0.0, abs=0.06)
    x = surface.nodes[0]
    assert np.all(landscape.basins[x < -0.06] == 0)
    assert np.all(landscape.basins[x > 0.06] == 1)


def test_the_lowest_way_around_a_hill_decides_the_barrier():
    def mueller_brown(x, y):
        a, b, c = (-1, -1, -6.5, 0.7), (0, 0, 11, 0.6), (-10, -10, -6.5, 0.7)
        height, x0, y0 = (-200, -100, -170, 15), (1, 0, -0.5, -1), (0, 0.5, 1.5, 1)
        terms = zip(a, b, c, height, x0, y0, strict=True)
        return sum(
            h * np.exp(a * (x - x0) ** 2 + b * (x - x0) * (y - y0) + c * (y - y0) ** 2) for a, b, c, h, x0, y0 in terms
        )

    surface = surface_of(mueller_brown, (-1.5, 1.2), (-0.2, 2.0), n=201)
    landscape = find_landscape(surface, 5.0)
    found = [(*surface.point(m.index), m.value) for m in landscape.minima]
    # the literature values of the minima and of the two saddles of this surface
    expected = [(-0.558, 1.442, -146.70), (0.623, 0.028, -108.17), (-0.050, 0.467, -80.77)]
    np.testing.assert_allclose(found, expected, atol=0.2)
    barriers = {saddle.between: saddle.value for saddle in landscape.saddles}
    assert barriers[0, 2] == pytest.approx(-40.67, abs=0.3)
    assert barriers[1, 2] == pytest.approx(-72.25, abs=0.3)
    assert barriers[0, 1] == pytest.approx(-40.67, abs=0.3)  # by way of the third
    adjacent = {saddle.between for saddle in landscape.saddles if saddle.adjacent}
    assert adjacent == {(0, 2), (1, 2)}
    way = maximum_flux_path(surface, landscape.minima[0].index, landscape.minima[1].index, 10.0)
    assert surface.values[tuple(way.T)].max() == pytest.approx(-40.67, abs=1.0)
    assert tuple(way[0]) == landscape.minima[0].index
    assert tuple(way[-1]) == landscape.minima[1].index


def test_a_periodic_surface_has_two_ways():
    surface = surface_of(lambda x: np.cos(2 * x) + 0.2 * np.cos(x), (-np.pi, np.pi), domains=True, n=120)
    landscape = find_landscape(surface, 0.5)
    assert len(landscape.minima) == 2
    assert landscape.saddles[0].value == pytest.approx(0.8, abs=0.01)  # at pi, not at 0, where it is 1.2
    assert abs(surface.point(landscape.saddles[0].index)[0]) == pytest.approx(np.pi, abs=0.1)


def test_eight_wells_in_three_dimensions():
    surface = surface_of(
        lambda x, y, z: sum(4 * (s**2 - 1) ** 2 + 0.1 * s for s in (x, y, z)), *[(-1.6, 1.6)] * 3, n=33
    )
    landscape = find_landscape(surface, 1.0)
    assert len(landscape.minima) == 8
    assert len(landscape.saddles) == 28
    assert {round(saddle.value - landscape.minima[0].value, 1) for saddle in landscape.saddles} <= {
        4.1,
        4.2,
        4.3,
        4.4,
        4.5,
    }


def test_noise_that_is_shallower_than_the_depth_makes_no_minimum():
    rng = np.random.default_rng(0)
    surface = surface_of(lambda x, y: 5 * (x**2 - 1) ** 2 + 5 * y**2 + rng.uniform(0, 0.9, x.shape), (-2, 2), (-1, 1))
    assert len(find_landscape(surface, 0.01).minima) > 20
    landscape = find_landscape(surface, 1.0)
    assert len(landscape.minima) == 2
    assert set(np.unique(landscape.basins)) == {0, 1}


def test_what_was_never_visited_belongs_to_nothing():
    def islands(x, y):
        f = np.minimum((x - 1) ** 2, (x + 1) ** 2 + 0.3) + y**2
        return np.where(f < 0.6, f, np.inf)

    landscape = find_landscape(surface_of(islands, (-2, 2), (-1, 1)), 0.1)
    assert len(landscape.minima) == 2
    assert landscape.saddles == []
    assert set(np.unique(landscape.basins)) == {-1, 0, 1}


def test_phases_are_conditions_on_the_variables():
    surface = surface_of(lambda x, y: x + y, (-1, 1), (-1, 1), n=5)
    x, y = np.meshgrid(*surface.nodes, indexing="ij")
    for text, mask in (
        ("x > 0", x > 0),
        ("-0.5 <= x < 0.5 and not y > 0", (x >= -0.5) & (x < 0.5) & ~(y > 0)),
        ("abs(x) + y**2 < 1 or max(x, y) > 0.9", (abs(x) + y**2 < 1) | (np.maximum(x, y) > 0.9)),
    ):
        name, found = parse_region(f"up: {text}", {"x": x, "y": y})
        assert name == "up"
        assert np.array_equal(found, mask)
    dotted = {"p.x": x, "p.y": y}
    assert np.array_equal(parse_region("up: p.x > 0 and p.y < 0", dotted)[1], (x > 0) & (y < 0))
    for text in ("x > 0", "up: q > 0", "up: x >", "up: __import__('os')", "up: x.__class__ > 0", "up: 'a' > 0"):
        with pytest.raises(InputError):
            parse_region(text, {"x": x, "y": y})
