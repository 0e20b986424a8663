"""Radial bases: orthonormality, integrals against mpmath quadrature and featomic, derivatives, limits, bad input."""

import itertools

import mpmath as mp
import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forceserver.representation.bases import AnyRadialBasis
from forceserver.representation.cutoff import LongAlgebraic, ShiftedCosine
from forceserver.representation.dvr import DvrBasis
from forceserver.representation.gto import GtoBasis, _primitives
from forceserver.representation.laplacian import LaplacianBasis
from forceserver.representation.radial import DiracDelta, Gaussian, gauss_legendre, gaussian_kernel

KINDS = (GtoBasis, DvrBasis, LaplacianBasis)


def make(kind, n_max=8, l_max=6, cutoff=4.0, sigma=0.3, **more):
    density = DiracDelta() if sigma is None else Gaussian(sigma_angstrom=sigma)
    smooth = ShiftedCosine(cutoff_angstrom=cutoff, width_angstrom=0.5)
    return kind(n_max=n_max, l_max=l_max, cutoff=smooth, density=density, **more)


class Quadrature:
    """R_n and I_nl of Gaussian-type orbitals by quadrature with 50 digits; nothing of it is analytic but R_n itself."""

    def __init__(self, n_max, radius):
        widths = [mp.mpf(radius) * mp.sqrt(max(n, 1)) / n_max for n in range(n_max)]
        end = max(3 * radius, 9 * widths[-1])
        nodes, weights = mp_gauss_legendre(int(16 * end), end)
        self.nodes = nodes
        rows = [[x**n * mp.exp(-((x / s) ** 2) / 2) for x in nodes] for n, s in enumerate(widths)]
        measure = [w * x**2 for x, w in zip(nodes, weights, strict=True)]
        norms = [1 / mp.sqrt(mp.fdot(measure, [f * f for f in row])) for row in rows]
        self.primitives = [[norm * f for f in row] for norm, row in zip(norms, rows, strict=True)]
        weighted = [[m * f for m, f in zip(measure, row, strict=True)] for row in self.primitives]
        overlap = mp.matrix([[mp.fdot(a, b) for b in self.primitives] for a in weighted])
        values, vectors = mp.eigsy(overlap)
        root = vectors * mp.diag([1 / mp.sqrt(v) for v in values]) * vectors.T
        weighted = mp.matrix(weighted)
        self.weighted = root * weighted
        self.functions = root * mp.matrix(self.primitives)

    def integrals(self, r, sigma, l):
        """I_nl(r) and its derivative for all n."""
        r, sigma = mp.mpf(r), mp.mpf(sigma)
        prefactor = 4 * mp.pi * (mp.pi * sigma**2) ** mp.mpf(-0.75)
        value, derivative = mp.matrix(len(self.nodes), 1), mp.matrix(len(self.nodes), 1)
        for i, x in enumerate(self.nodes):
            z = r * x / sigma**2
            gauss = prefactor * mp.exp(-(r**2 + x**2) / (2 * sigma**2))
            bessel, higher = (mp.sqrt(mp.pi / (2 * z)) * mp.besseli(k + mp.mpf(0.5), z) for k in (l, l + 1))
            value[i] = gauss * bessel
            derivative[i] = gauss * (x / sigma**2 * (higher + l / z * bessel) - r / sigma**2 * bessel)
        return self.weighted * value, self.weighted * derivative


def mp_gauss_legendre(n, end):
    """Newton's iteration on numpy's nodes, and weights 2 / ((1 - x^2) P_n'(x)^2)."""
    nodes, weights = [], []
    for start in np.polynomial.legendre.leggauss(n)[0]:
        x = mp.mpf(float(start))
        for _ in range(3):
            p, lower = mp.mpf(1), mp.mpf(0)
            for k in range(1, n + 1):
                p, lower = ((2 * k - 1) * x * p - (k - 1) * lower) / k, p
            slope = n * (x * p - lower) / (x * x - 1)
            x -= p / slope
        nodes.append(mp.mpf(end) * (x + 1) / 2)
        weights.append(mp.mpf(end) / ((1 - x * x) * slope**2))
    return nodes, weights


def relative_errors(ours, exact):
    exact = [mp.mpf(e) for e in exact]
    return [float(abs((mp.mpf(float(o)) - e) / e)) for o, e in zip(ours, exact, strict=True)]


@pytest.mark.parametrize(
    ("n_max", "degrees", "sigma", "distances"),
    [
        (8, (0, 1, 6), 0.3, (1e-6, 0.7, 2.9, 5.0)),
        (20, (0, 1, 5, 12), 0.5, (1e-6, 1.3, 5.0)),
    ],
)
def test_gto_integrals_are_those_of_mpmath_quadrature(n_max, degrees, sigma, distances):
    check_gto_integrals(n_max, degrees, sigma, distances)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("n_max", [2, 12, 20])
def test_all_gto_integrals_are_those_of_mpmath_quadrature(n_max, sigma):
    check_gto_integrals(n_max, range(13), sigma, (1e-12, 1e-3, 0.1, 0.9, 2.3, 3.7, 4.999, 5.0))


def check_gto_integrals(n_max, degrees, sigma, distances):
    with mp.workdps(50):
        quadrature = Quadrature(n_max, 5.0)
        basis = make(GtoBasis, n_max=n_max, l_max=max(degrees), cutoff=5.0, sigma=sigma)
        values, derivatives = basis.integrals(np.array(distances))
        for k, r in enumerate(distances):
            for l in degrees:
                exact, slope = quadrature.integrals(r, sigma, l)
                assert max(relative_errors(values[k, l], exact)) < 1e-12, (r, l)
                assert max(relative_errors(derivatives[k, l], slope)) < 1e-12, (r, l)


@settings(max_examples=30, deadline=None)
@given(
    n_max=st.integers(1, 20),
    l=st.integers(0, 12),
    sigma=st.floats(0.02, 2.0),
    radius=st.floats(0.5, 20.0),
    fractions=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9),
)
def test_any_gto_integral_is_that_of_the_formula(n_max, l, sigma, radius, fractions):
    """Whatever the parameters, also the narrowest and widest Gaussians: all digits of the series survive."""
    r = np.maximum(np.array(fractions) * radius, 1e-6)
    width = sigma * radius * (1 + 1e-12)
    cutoff = ShiftedCosine(cutoff_angstrom=radius, width_angstrom=radius)
    basis = GtoBasis(n_max=n_max, l_max=l, cutoff=cutoff, density=Gaussian(sigma_angstrom=width))
    values = basis.integrals(r)[0][:, l]
    with mp.workdps(60):
        exponents, norms, mixing = _primitives(n_max, radius)  # their overlap is checked with the quadrature above
        a = 1 / (2 * mp.mpf(width) ** 2)
        beta = l + mp.mpf(1.5)
        for k, x in enumerate(map(mp.mpf, r)):
            primitives = [
                norm
                * mp.gamma(al)
                / mp.gamma(beta)
                * (a * x) ** l
                * (a + b) ** -al
                * mp.exp(-a * x**2)
                * mp.hyp1f1(al, beta, (a * x) ** 2 / (a + b))
                for al, b, norm in zip([mp.mpf(n + l + 3) / 2 for n in range(n_max)], exponents, norms, strict=True)
            ]
            wanted = mixing * mp.matrix(primitives) * mp.pi ** mp.mpf(1.5) * (2 * a / mp.pi) ** mp.mpf(0.75)
            for ours, exact in zip(values[k], wanted, strict=True):
                assert abs(mp.mpf(ours) - exact) <= 1e-12 * abs(exact) + mp.mpf(10) ** -300


def test_gto_functions_are_those_of_mpmath():
    with mp.workdps(50):
        quadrature = Quadrature(20, 5.0)
        picked = [3, 40, 70, 110]
        r = np.array([float(quadrature.nodes[i]) for i in picked])
        values, _ = make(GtoBasis, n_max=20, cutoff=5.0, sigma=None).functions(r)
        for k, i in enumerate(picked):
            # the node itself is rounded: that is the error that remains
            assert max(relative_errors(values[k, 0], quadrature.functions[:, i])) < 1e-11
        primitives = make(GtoBasis, n_max=20, cutoff=5.0).primitives(r)
        for k, i in enumerate(picked):
            exact = [row[i] for row in quadrature.primitives]
            assert max(relative_errors(primitives[k, 0], exact)) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_max", [1, 8, 20])
def test_functions_are_orthonormal(kind, n_max):
    basis = make(kind, n_max=n_max, l_max=3, sigma=None)
    if kind is DvrBasis:  # orthonormal for its own quadrature
        r, w = gauss_legendre(n_max, 4.0)
    else:
        r, w = gauss_legendre(300, {GtoBasis: 10.0 if n_max > 1 else 40.0, LaplacianBasis: 4.0}[kind])
    f = basis.functions(r)[0]
    overlap = np.einsum("k,kln,klm->lnm", w * r**2, f, f)
    np.testing.assert_allclose(overlap, np.broadcast_to(np.eye(n_max), overlap.shape), atol=2e-13)


@pytest.mark.parametrize("sigma", [None, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_differences(kind, sigma):
    scaling = LongAlgebraic(rate=1.0, scale_angstrom=2.0, exponent=3)
    basis = make(kind, sigma=sigma, scaling=scaling)
    r, h = np.linspace(0.3, 3.9, 37) + 1e-3, 1e-4
    stencil = [(-1, 8), (1, -8), (2, 1), (-2, -1)]
    differences = -sum(c * basis.evaluate(r + s * h)[0] for s, c in stencil) / (12 * h)
    derivative = basis.evaluate(r)[1]
    np.testing.assert_allclose(derivative, differences, atol=1e-9 * np.abs(derivative).max())


@pytest.mark.parametrize("sigma", [None, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_limits(kind, sigma):
    """Integrals go as r^l at r -> 0, and everything is zero at and beyond the cutoff."""
    basis = make(kind, sigma=sigma)
    values, derivatives = basis.evaluate(np.array([0.0, 1e-4, 4.0, 5.0]))
    assert np.all(np.isfinite(values))
    assert np.all(np.isfinite(derivatives))
    assert not np.any(values[2:])
    assert not np.any(derivatives[2:])
    if sigma is not None:
        np.testing.assert_allclose(values[0, 1:], 0, atol=1e-99)  # r = 0 stands for 1e-100
        np.testing.assert_allclose(values[1, 1:] * np.arange(1, 7)[:, None], 1e-4 * derivatives[1, 1:], rtol=1e-4)


def featomic_dimer(basis, density, r, spliner=None):
    """c / Y_l0 of a neighbour at distance r along z, for each l."""
    ase = pytest.importorskip("ase")
    featomic = pytest.importorskip("featomic")
    smoothing = featomic.cutoff.ShiftedCosine(width=0.5)
    hypers = {"cutoff": featomic.cutoff.Cutoff(radius=4.0, smoothing=smoothing), "density": density, "basis": basis}
    if spliner is not None:
        hypers = spliner(**hypers, n_spline_points=400).get_hypers()
    dimer = ase.Atoms("HO", [[0, 0, 0], [0, 0, r]])
    blocks = featomic.SphericalExpansion(**hypers).compute(dimer)
    for l in basis.angular_channels():
        block = blocks.block(o3_lambda=l, center_type=1, neighbor_type=8)
        yield block.values[0, l, :] / np.sqrt((2 * l + 1) / (4 * np.pi))


@pytest.mark.parametrize("r", [0.9, 2.0, 3.7])
def test_gto_integrals_are_those_of_featomic(r):
    featomic = pytest.importorskip("featomic")
    scaling = featomic.density.Willatt2018(exponent=4, rate=1.3, scale=2.0)
    peer = featomic_dimer(
        featomic.basis.TensorProduct(max_angular=6, radial=featomic.basis.Gto(max_radial=7)),
        featomic.density.Gaussian(width=0.3, scaling=scaling),
        r,
    )
    basis = make(GtoBasis, scaling=LongAlgebraic(rate=1.3, scale_angstrom=2.0, exponent=4))
    np.testing.assert_allclose(basis.evaluate(np.array([r]))[0][0], list(peer), atol=5e-11)


@pytest.mark.parametrize("sigma", [None, 0.3])
def test_laplacian_integrals_are_those_of_featomic(sigma):
    featomic = pytest.importorskip("featomic")
    density = featomic.density.DiracDelta() if sigma is None else featomic.density.Gaussian(width=sigma)
    eigenstates = featomic.basis.LaplacianEigenstate(radius=4.0, max_radial=3, max_angular=2)
    peer = featomic_dimer(eigenstates, density, 1.3, featomic.splines.SoapSpliner)
    basis = make(LaplacianBasis, n_max=4, l_max=2, sigma=sigma)
    ours = basis.evaluate(np.array([1.3]))[0][0]
    for l, theirs in enumerate(peer):
        assert len(theirs) == basis.counts[l]
        np.testing.assert_allclose(ours[l, : len(theirs)], theirs, atol=1e-7)


def test_gaussian_kernel_is_that_of_mpmath():
    r, x, sigma = np.array([1e-30, 1e-3, 0.8, 5.0]), np.array([0.02, 1.1, 4.7]), 0.25
    values, derivatives = gaussian_kernel(r, x, sigma, 12)
    with mp.workdps(50):

        def exact(r, x, l):
            z = r * x / mp.mpf(sigma) ** 2
            gauss = 4 * mp.pi * (mp.pi * mp.mpf(sigma) ** 2) ** mp.mpf(-0.75) * mp.exp(-(r * r + x * x) / 2 / sigma**2)
            return gauss * mp.sqrt(mp.pi / 2 / z) * mp.besseli(l + mp.mpf(0.5), z)

        for k, l in itertools.product(range(len(r)), (0, 1, 2, 7, 12)):
            wanted = [exact(mp.mpf(r[k]), mp.mpf(point), l) for point in x]
            if max(wanted) < 1e-290:
                continue  # underflow
            np.testing.assert_allclose(values[l, k], np.array(wanted, dtype=float), rtol=2e-13)
            slopes = [
                mp.diff(lambda t, p=point, l=l: exact(t, mp.mpf(p), l), mp.mpf(r[k]), h=r[k] * 1e-12) for point in x
            ]
            slopes = np.array(slopes, dtype=float)
            np.testing.assert_allclose(derivatives[l, k], slopes, rtol=1e-12, atol=1e-13 * np.abs(slopes).max())


def test_bessel_integrals_are_those_of_a_finer_quadrature():
    basis = make(LaplacianBasis, n_max=20, l_max=12, cutoff=5.0, sigma=0.2)
    r = np.linspace(0.0, 5.0, 11)
    x, w = gauss_legendre(2000, 5.0)
    kernel, _ = gaussian_kernel(r, x, 0.2, 12)
    exact = np.einsum("lkp,p,pln->kln", kernel, w * x**2, basis.functions(x)[0], optimize=True)
    np.testing.assert_allclose(basis.integrals(r)[0], exact, atol=1e-13 * np.abs(exact).max())


def test_laplacian_counts_and_zeros():
    basis = make(LaplacianBasis, n_max=6, l_max=8, sigma=None)
    assert basis.counts[0] == 6
    assert list(basis.counts) == sorted(basis.counts, reverse=True)
    near_end = basis.functions(np.array([4.0]))[0][0]
    np.testing.assert_allclose(near_end, 0, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_stored_as_json_and_back(kind):
    basis = make(kind, scaling=LongAlgebraic(rate=1.0, scale_angstrom=2.0, exponent=3))
    again = pydantic.TypeAdapter(AnyRadialBasis).validate_json(basis.model_dump_json())
    assert type(again) is kind
    assert again == basis


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"n_max": 0}, r"n_max[\s\S]*greater than or equal to 1"),
        ({"n_max": 21}, r"n_max[\s\S]*less than or equal to 20"),
        ({"l_max": -1}, r"l_max[\s\S]*greater than or equal to 0"),
        ({"l_max": 13}, r"l_max[\s\S]*less than or equal to 12"),
        ({"density": {"kind": "gaussian", "sigma_angstrom": 0}}, r"sigma_angstrom[\s\S]*greater than 0"),
        ({"density": {"kind": "gaussian", "sigma_angstrom": 0.05}}, r"a fiftieth of the cutoff, 0\.08"),
        ({"colour": 1}, "colour"),
    ],
)
def test_bad_hypers_are_refused_with_the_range(bad, message):
    good = make(GtoBasis).model_dump()
    with pytest.raises(ValueError, match=message):
        GtoBasis(**{**good, **bad})


@pytest.mark.parametrize("r", [[-1.0], [np.nan], [[1.0]]])
def test_bad_distances_are_refused(r):
    with pytest.raises(ValueError, match="finite distances"):
        make(GtoBasis).evaluate(np.array(r))
