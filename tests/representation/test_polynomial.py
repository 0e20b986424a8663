"""Radial functions of point densities."""

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forceserver.representation.polynomial import Envelope, PolynomialBasis

TRANSFORMS = (
    {"kind": "polynomial", "r0_angstrom": 2.3},
    {"kind": "agnesi", "r0_angstrom": 2.3},
    {"kind": "affine"},
)


def basis(transform=TRANSFORMS[1], **settings):
    ends = {"cutoff_angstrom": 5.5} | settings.pop("cutoff", {})
    return PolynomialBasis(n_max=12, l_max=1, cutoff=ends, transform=transform, **settings)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("polynomials", ["jacobi", "legendre", "chebyshev"])
@pytest.mark.parametrize("inner", [{}, {"inner_angstrom": 1.2, "inner_exponent": 2}])
def test_derivatives_and_ends(transform, polynomials, inner):
    one = basis(transform, polynomials=polynomials, cutoff=inner)
    r, step = np.linspace(1.3, 5.45, 97), 1e-5
    value, slope = one.evaluate(r)
    differences = (one.evaluate(r + step)[0] - one.evaluate(r - step)[0]) / (2 * step)
    np.testing.assert_allclose(slope, differences, atol=1e-7 * np.abs(slope).max())
    ends = np.array([5.5, 6.0] + ([0.5, 1.2] if inner else []))
    for f in one.evaluate(ends):
        np.testing.assert_allclose(f, 0.0, atol=1e-10)
    np.testing.assert_array_equal(value[:, 0], value[:, 1])


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_jacobi_functions_are_orthonormal_in_the_transformed_distance(transform):
    one = basis(transform)
    r = np.linspace(0, 5.5, 200_001)
    x = one.transform.evaluate(r)[0]
    y = 2 * (x - x[0]) / (x[-1] - x[0]) - 1
    f = one.evaluate(r)[0][:, 0]
    products = np.einsum("kn,km,k->nm", (f[1:] + f[:-1]) / 2, (f[1:] + f[:-1]) / 2, np.diff(y))
    np.testing.assert_allclose(products, np.eye(12), atol=1e-3)


@given(st.integers(1, 6), st.integers(2, 8), st.floats(1.0, 3.0))
def test_agnesi_is_steepest_at_r0(p, q, r0):
    """That is what its constant is for."""
    if q <= p:
        with pytest.raises(pydantic.ValidationError, match="must be larger"):
            basis({"kind": "agnesi", "r0_angstrom": r0, "p": p, "q": q})
        return
    one = basis({"kind": "agnesi", "r0_angstrom": r0, "p": p, "q": q})
    r = np.array([0.999, 1.0, 1.001]) * r0
    slope = np.abs(one.transform.evaluate(r)[1])
    assert slope[1] >= max(slope[0], slope[2])


def test_an_inner_end_must_be_smooth_and_inside():
    with pytest.raises(pydantic.ValidationError, match="requires inner_exponent >= 2"):
        Envelope(cutoff_angstrom=5.0, inner_angstrom=1.0)
    with pytest.raises(pydantic.ValidationError, match="must be smaller than cutoff_angstrom"):
        Envelope(cutoff_angstrom=5.0, inner_angstrom=5.0, inner_exponent=2)


TABLE = {"H-H": 0.8, "O-H": 1.0, "O-O": 2.4}


def test_lengths_of_pairs():
    one = basis({"kind": "agnesi", "r0_angstrom": TABLE}, cutoff={"core_angstrom": {"H-O": 0.9, "H-H": 0.6, "O-O": 2}})
    assert one.transform.r0_angstrom == {"H-H": 0.8, "H-O": 1.0, "O-O": 2.4}
    for pair in ((1, 8), (8, 1)):
        alone = basis({"kind": "agnesi", "r0_angstrom": 1.0}, cutoff={"core_angstrom": 0.9})
        assert one.of_pair(*pair) == alone
    with pytest.raises(ValueError, match="r0_angstrom: there is none for H-C, only for H-H, H-O, O-O"):
        one.of_pair(1, 6)
    with pytest.raises(ValueError, match="by pairs of species"):
        one.evaluate(np.ones(1))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"H": 1.0}, "is no pair of species"),
        ({"H-Xx": 1.0}, "there is no element 'Xx'"),
        ({"H-O": 1.0, "O-H": 1.1}, "O-H is there twice"),
        ({}, "at least one pair"),
        ({"H-O": 0.0}, "greater than 0"),
    ],
)
def test_tables_that_are_wrong(table, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        basis({"kind": "agnesi", "r0_angstrom": table})


def test_a_core_of_a_pair_is_inside():
    with pytest.raises(pydantic.ValidationError, match="core_angstrom must be smaller than cutoff_angstrom"):
        Envelope(cutoff_angstrom=2.0, core_angstrom={"O-O": 2.5})
