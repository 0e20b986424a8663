"""Conditions of phases: what is understood, and that no text runs for ever."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from forceserver.bias.coordinates import Coordinate
from forceserver.errors import InputError
from forceserver.free_energy.region import named_regions, parse_region
from forceserver.free_energy.surface import Surface

X, Y = np.linspace(-2, 2, 5), np.linspace(0, 3, 4)
SURFACE = Surface((Coordinate("x"), Coordinate("phi.y")), (X, Y), np.zeros((5, 4)))
PLACES = dict(zip(SURFACE.names, np.meshgrid(X, Y, indexing="ij"), strict=True))


def test_conditions_are_arithmetic():
    name, mask = parse_region("up: x**2 - 1 > 0 and not phi.y >= 2", PLACES)
    assert name == "up"
    np.testing.assert_array_equal(mask, (X[:, None] ** 2 > 1) & ~(Y[None] >= 2))


@pytest.mark.parametrize(
    "condition",
    ["9**9**9**9 > x", "x**(10**9) > 0", "x**-1 > 0", "x**x > 0", "1 > " + "-" * 2000 + "x", "x" * 5000],
)
def test_what_would_take_for_ever_is_refused(condition):
    with pytest.raises(InputError, match="phase up"):
        parse_region(f"up: {condition}", PLACES)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("x", "x is a number, not a condition"),
        ("x > 0 and phi.y", "is a number, not a condition"),
        ("not x", "x is a number"),
        ("abs(x, x) > 0", "is not allowed"),
        ("min(x) > 0", "is not allowed"),
    ],
)
def test_slips_of_the_pen_are_refused(condition, message):
    with pytest.raises(InputError, match=message):
        parse_region(f"up: {condition}", PLACES)


def test_the_least_of_three_is_of_all_three():
    """numpy takes a third argument for the place of the result: min(x, phi.y, -1) was min(x, phi.y)."""
    _, mask = parse_region("up: min(x, phi.y, -1) > -1.5", PLACES)
    np.testing.assert_array_equal(mask, np.broadcast_to(X[:, None] > -1.5, (5, 4)))


@pytest.mark.parametrize("centre", [-3.0, 0.0, 0.7])
def test_a_border_within_a_cell_divides_it(centre):
    """Of a periodic variable: with nodes alone, the region had a width of three or four intervals, here 3.5 of them."""
    nodes = np.linspace(-np.pi, np.pi, 25)[:-1]
    angle = Surface((Coordinate("a", (-np.pi, np.pi)),), (nodes,), np.zeros(24))
    width = 3.5 * (nodes[1] - nodes[0])
    region = named_regions([f"in: cos(a - {centre}) > cos({width / 2})"], angle)["in"]
    assert region.sum() == pytest.approx(3.5, abs=2 / 16)
    square = Surface((Coordinate("x"), Coordinate("y")), (np.arange(9.0), np.arange(9.0)), np.zeros((9, 9)))
    assert named_regions(["in: x < 4.75 and y < 2"], square)["in"].sum() == pytest.approx(5.25 * 2.5)


def test_two_phases_have_two_names():
    with pytest.raises(InputError, match="two phases up"):
        named_regions(["up: x > 0", "up: x > 1"], SURFACE)


@hypothesis.given(st.text("x()+-*/<>=. 0123456789andortphi.y,", max_size=60))
def test_any_text_is_a_mask_or_an_error(text):
    try:
        _, mask = parse_region(f"a: {text}", PLACES)
    except InputError:
        return
    assert mask.shape == (5, 4)
