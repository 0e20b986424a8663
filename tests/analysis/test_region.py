"""Conditions of phases: what is understood, and that no text runs for ever."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from forceserver.analysis.region import parse_region
from forceserver.analysis.surface import Surface
from forceserver.bias.variables import Variable
from forceserver.errors import InputError

X, Y = np.linspace(-2, 2, 5), np.linspace(0, 3, 4)
SURFACE = Surface((Variable("x"), Variable("phi.y")), (X, Y), np.zeros((5, 4)))


def test_conditions_are_arithmetic():
    name, mask = parse_region("up: x**2 - 1 > 0 and not phi.y >= 2", SURFACE)
    assert name == "up"
    np.testing.assert_array_equal(mask, (X[:, None] ** 2 > 1) & ~(Y[None] >= 2))


@pytest.mark.parametrize(
    "condition",
    ["9**9**9**9 > x", "x**(10**9) > 0", "x**-1 > 0", "x**x > 0", "1 > " + "-" * 2000 + "x", "x" * 5000],
)
def test_what_would_take_for_ever_is_refused(condition):
    with pytest.raises(InputError, match="phase up"):
        parse_region(f"up: {condition}", SURFACE)


@hypothesis.given(st.text("x()+-*/<>=. 0123456789andortphi.y,", max_size=60))
def test_any_text_is_a_mask_or_an_error(text):
    try:
        _, mask = parse_region(f"a: {text}", SURFACE)
    except InputError:
        return
    assert mask.shape == (5, 4)
