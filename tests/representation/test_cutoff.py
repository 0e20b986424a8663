"""Cutoff function and radial scaling against featomic and against their own differences."""

import numpy as np
import pytest

from forceserver.representation.cutoff import LongAlgebraic, ShiftedCosine


def differences(evaluate, r, h=1e-5):
    return (evaluate(r + h)[0] - evaluate(r - h)[0]) / (2 * h)


@pytest.mark.parametrize(("cutoff", "width"), [(3.0, 0.5), (4.2, 1.37)])
def test_shifted_cosine_is_that_of_featomic(cutoff, width):
    featomic = pytest.importorskip("featomic")
    r = np.linspace(0, 1.2 * cutoff, 241)
    value, derivative = ShiftedCosine(cutoff_angstrom=cutoff, width_angstrom=width).evaluate(r)
    peer = featomic.cutoff.ShiftedCosine(width=width)
    np.testing.assert_allclose(value, peer.compute(cutoff, r, derivative=False), atol=1e-14)
    np.testing.assert_allclose(derivative, peer.compute(cutoff, r, derivative=True), atol=1e-13)


def test_shifted_cosine_ends():
    cutoff = ShiftedCosine(cutoff_angstrom=3, width_angstrom=0.5)
    value, derivative = cutoff.evaluate(np.array([0, 2.5, 2.75, 3.0, 3.5]))
    np.testing.assert_array_equal(value[[0, 1, 3, 4]], [1, 1, 0, 0])
    np.testing.assert_array_equal(derivative[[0, 1, 3, 4]], 0)
    assert value[2] == pytest.approx(0.5, abs=1e-15)
    near = 3.0 - 1e-9
    assert cutoff.evaluate(np.array([near]))[0][0] == pytest.approx((np.pi * (3 - near)) ** 2, rel=1e-12)


def test_derivatives_are_derivatives():
    r = np.linspace(0.103, 2.9, 57)  # 2.5, where the second derivative jumps, is not among them
    for weight in (
        ShiftedCosine(cutoff_angstrom=3, width_angstrom=0.5),
        LongAlgebraic(rate=1.3, scale_angstrom=2.0, exponent=4),
        LongAlgebraic(rate=0.5, scale_angstrom=1.0, exponent=1),
    ):
        np.testing.assert_allclose(weight.evaluate(r)[1], differences(weight.evaluate, r), atol=2e-9)


def test_long_algebraic_formula_and_limits():
    scaling = LongAlgebraic(rate=1.3, scale_angstrom=2.0, exponent=4)
    value, derivative = scaling.evaluate(np.array([0.0, 2.0]))
    np.testing.assert_allclose(value, [1, 1.3 / 2.3], rtol=1e-15)
    np.testing.assert_allclose(derivative, [0, -1.3 * 4 / 2 / 2.3**2], rtol=1e-15)
    assert LongAlgebraic(rate=1, scale_angstrom=1, exponent=0).evaluate(np.array([3.0]))[0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cutoff_angstrom": 0, "width_angstrom": 1}, r"cutoff_angstrom[\s\S]*greater than 0"),
        ({"cutoff_angstrom": -1, "width_angstrom": 1}, r"cutoff_angstrom[\s\S]*greater than 0"),
        ({"cutoff_angstrom": 3, "width_angstrom": 0}, r"width_angstrom[\s\S]*greater than 0"),
        ({"cutoff_angstrom": 3, "width_angstrom": 3.1}, r"width_angstrom[\s\S]*\(0, cutoff_angstrom = 3\]"),
        ({"cutoff_angstrom": float("nan"), "width_angstrom": 1}, r"cutoff_angstrom[\s\S]*finite"),
    ],
)
def test_bad_cutoffs_are_refused_with_the_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShiftedCosine(**arguments)


@pytest.mark.parametrize("bad", [{"rate": 0}, {"scale_angstrom": -1}, {"exponent": -1}])
def test_bad_scalings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        LongAlgebraic(**{"rate": 1, "scale_angstrom": 1, "exponent": 2, **bad})


def test_stored_as_json_and_back():
    cutoff = ShiftedCosine(cutoff_angstrom=3, width_angstrom=0.5)
    assert ShiftedCosine.model_validate_json(cutoff.model_dump_json()) == cutoff
