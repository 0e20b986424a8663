"""Switching functions: derivatives, ends, splines; PLUMED's are compared in tests/peers/test_plumed_order.py."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from forceserver.representation.switching import AnySwitchingFunction

READ = TypeAdapter(AnySwitchingFunction).validate_python
FUNCTIONS = {
    "rational": {"kind": "rational", "r0_angstrom": 2.0, "d_max_angstrom": 5.0},
    "rational 3, 4": {
        "kind": "rational",
        "r0_angstrom": 1.0,
        "d0_angstrom": 1.0,
        "n": 3,
        "m": 4,
        "d_max_angstrom": 5.0,
    },
    "rational 12, 30": {"kind": "rational", "r0_angstrom": 3.0, "n": 12, "m": 30, "d_max_angstrom": 5.0},
    "gaussian": {"kind": "gaussian", "r0_angstrom": 0.7, "d0_angstrom": 2.0, "d_max_angstrom": 5.0},
    "cubic": {"kind": "cubic", "d0_angstrom": 2.0, "d_max_angstrom": 5.0},
    "cosine": {"kind": "cosine", "d_max_angstrom": 5.0},
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_and_derivative(name):
    switch = READ(FUNCTIONS[name])
    r, h = np.linspace(0.01, 4.99, 1993), 1e-6
    value, slope = switch.evaluate(r)
    difference = (switch.evaluate(r + h)[0] - switch.evaluate(r - h)[0]) / (2 * h)
    smooth = abs(r - switch.d0_angstrom) > 2 * h
    np.testing.assert_allclose(slope[smooth], difference[smooth], atol=1e-7)
    assert switch.evaluate(np.zeros(1))[0] == 1
    assert switch.evaluate(np.array([5.0 - 1e-9]))[0] == pytest.approx(0, abs=1e-8)
    assert not np.any(switch.evaluate(np.array([5.0, 7.0])))
    assert np.all(np.diff(value) <= 0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_splines_have_the_tolerance_up_to_the_end(name):
    switch = READ(FUNCTIONS[name])
    table = switch.table((1, 0, 2), 1e-7)
    r = np.random.default_rng(0).uniform(0, 5, 4000)
    for splined, exact in zip(table.evaluate(r), switch.evaluate(r), strict=True):
        assert splined.shape == (4000, 3)
        np.testing.assert_allclose(splined, np.repeat(exact[:, None], 3, axis=1), atol=1e-7)


def test_where_numerator_and_denominator_vanish():
    """At r_0 the fraction is n / m; next to it no digit is lost."""
    switch = READ({"kind": "rational", "r0_angstrom": 1.0, "n": 6, "m": 13, "d_max_angstrom": 900.0})
    value, slope = switch.evaluate(1 + np.array([-1e-6, -1e-12, 0, 1e-12, 1e-6]))
    np.testing.assert_allclose(value, 6 / 13, atol=2e-6)
    np.testing.assert_allclose(slope, 6 / 13 * (6 - 13) / 2, atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d0_angstrom": 5.0}, "d_max_angstrom = 5 must be larger than d0_angstrom = 5"),
        ({"d_max_angstrom": 3000.0}, "within 1000 r0_angstrom"),
        ({"r0_angstrom": 0.0}, "greater than 0"),
        ({"m": 6}, "m = 6 must be larger than n = 6"),
        ({"kind": "tanh"}, "'rational', 'gaussian', 'cubic', 'cosine'"),
    ],
)
def test_what_cannot_be(changes, message):
    with pytest.raises(ValidationError, match=message):
        READ(FUNCTIONS["rational"] | changes)
