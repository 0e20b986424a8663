"""Couplings, the product basis and its kernel: counts, invariance, completeness, derivatives."""

from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from structures import barium_titanate, rotation

from forceserver import _ext
from forceserver.representation.couplings import n_invariants, real_clebsch_gordan
from forceserver.representation.expansion import ExpansionBasis, SphericalExpansion
from forceserver.representation.invariant_products import InvariantProducts
from forceserver.representation.neighbours import NeighbourList
from forceserver.representation.polynomial import PolynomialBasis
from forceserver.representation.products import Channel, ProductGraph, Truncation, independent, truncate
from forceserver.representation.spline import SplineTable


def haar_count(degrees, names):
    """Invariants counted by characters: the mean of those of the symmetric powers over all rotations."""
    if sum(degrees) % 2:
        return 0
    angles, weights = np.polynomial.legendre.leggauss(200)
    angles, weights = np.pi * (angles + 1) / 2, weights / 2 * np.pi
    total = np.ones_like(angles)
    for l, name in set(zip(degrees, names, strict=True)):
        power = sum(d == l and n == name for d, n in zip(degrees, names, strict=True))
        # complete homogeneous symmetric polynomials of the eigenvalues, from power sums
        sums = [sum(np.cos(m * k * angles) for m in range(-l, l + 1)) for k in range(1, power + 1)]
        symmetric = [np.ones_like(angles)]
        for k in range(1, power + 1):
            symmetric.append(sum(sums[i - 1] * symmetric[k - i] for i in range(1, k + 1)) / k)
        total *= symmetric[power]
    return round(float((weights * (1 - np.cos(angles)) * total).sum() / np.pi))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=4).map(
        lambda pairs: [(l, (l, n)) for l, n in pairs]
    )
)
@settings(deadline=None)
def test_number_of_invariants_is_that_of_characters(pairs):
    degrees, names = zip(*pairs, strict=True)
    assert n_invariants(degrees, names) == haar_count(degrees, names)


@pytest.mark.parametrize("degrees", list(combinations_with_replacement(range(4), 4)))
def test_functions_of_order_four_are_as_many_as_characters_count(degrees):
    """For every pattern of equal channels; `independent` itself compares the rank that it finds with the number."""
    for names in ((0, 1, 2, 3), (0, 0, 1, 2), (0, 0, 1, 1), (0, 0, 0, 1), (0, 0, 0, 0)):
        if all(degrees[a] == degrees[b] for a in range(4) for b in range(4) if names[a] == names[b]):
            assert len(independent(degrees, names)) == haar_count(degrees, names)


@pytest.mark.parametrize(("l1", "l2", "l3"), [(1, 1, 0), (1, 1, 1), (1, 1, 2), (2, 3, 4), (2, 2, 3), (3, 4, 6)])
def test_couplings_are_orthonormal_and_rotate(l1, l2, l3):
    c = real_clebsch_gordan(l1, l2, l3)
    np.testing.assert_allclose(np.einsum("abc,abd->cd", c, c), np.eye(2 * l3 + 1), atol=1e-13)
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    d1, d2, d3 = (harmonics_rotation(l, turn) for l in (l1, l2, l3))
    np.testing.assert_allclose(np.einsum("abc,ax,by->xyc", c, d1, d2), np.einsum("xyz,cz->xyc", c, d3), atol=1e-12)


def harmonics_rotation(l, turn):
    """D with Y(R u) = D Y(u), from values at random directions."""
    directions = np.random.default_rng(0).normal(size=(4 * l + 4, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before, after = harmonics(l, directions), harmonics(l, directions @ turn.T)
    return np.linalg.lstsq(before, after, rcond=None)[0].T


def harmonics(l, directions):
    from scipy.special import sph_harm_y

    theta, phi = np.arccos(directions[:, 2]), np.arctan2(directions[:, 1], directions[:, 0])
    columns = []
    for m in range(-l, l + 1):
        y = sph_harm_y(l, abs(m), theta, phi) * (-1) ** m
        columns.append(y.real if m == 0 else np.sqrt(2) * (y.imag if m < 0 else y.real))
    return np.stack(columns, axis=1)


def products(species, functions=120, order=4, cutoff=4.0, **rule):
    graph = ProductGraph(
        truncate(Truncation(functions=functions, order=order, n_max=(8,), l_max=(0, 4, 4, 4), **rule), len(species))
    )
    basis = PolynomialBasis(
        n_max=8,
        l_max=len(graph.counts) - 1,
        cutoff={"cutoff_angstrom": cutoff},
        transform={"kind": "agnesi", "r0_angstrom": 2.0},
    )
    one = SplineTable.build(basis, 1e-4).contract([np.eye(8)[:n] for n in graph.counts])
    expansion = ExpansionBasis(dict.fromkeys(species, one), centre_contribution=False)
    return expansion, InvariantProducts(graph, expansion)


def values_of(atoms, expansion, invariants):
    neighbours = NeighbourList(atoms.numbers, expansion.cutoff, pbc=atoms.pbc)
    neighbours.update(atoms.positions, atoms.cell.array)
    c = SphericalExpansion(expansion, neighbours).values()
    return invariants.values(c.reshape(len(c), -1))


def test_invariants_do_not_change_with_rotation_and_inversion():
    atoms = barium_titanate()
    expansion, invariants = products((8, 22, 56), functions=400)
    before = values_of(atoms, expansion, invariants)
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ rotation().T, scale_atoms=True)
    inverted = atoms.copy()
    inverted.set_cell(-atoms.cell.array, scale_atoms=True)
    for other in (turned, inverted):
        np.testing.assert_allclose(values_of(other, expansion, invariants), before, atol=1e-10 * np.abs(before).max())


def test_functions_are_linearly_independent():
    """Of as many environments as there are functions and more, the matrix has full rank, block by block."""
    expansion, invariants = products((14,), functions=300)
    c = np.random.default_rng(0).normal(size=(700, expansion.size))
    values = invariants.values(c)
    for order in range(1, 5):
        block = values[:, invariants.graph.order_of == order]
        singular = np.linalg.svd(block / np.linalg.norm(block, axis=0), compute_uv=False)
        assert singular[-1] > 1e-6 * singular[0]


def test_functions_are_complete():
    """The mean over rotations of any product of three coefficients is a combination of the functions."""
    expansion, invariants = products((14,), functions=200, order=3)
    rng = np.random.default_rng(1)
    channels = [Channel(0, 0, 1), Channel(0, 1, 1), Channel(0, 0, 2)]
    chosen = [1, 1, 2]  # z, z, 2 z^2 - x^2 - y^2: one whose mean is not zero
    graph = invariants.graph
    target = next(k for k in range(len(graph)) if sorted(graph.channels_of(k)) == sorted(channels))
    vectors = [[rng.normal(size=2 * c.l + 1) for c in channels] for _ in range(6)]
    means = np.zeros(len(vectors))
    for weight, turn in haar_average(degree=4):
        d = {l: harmonics_rotation(l, turn) for l in (1, 2)}
        for number, parts in enumerate(vectors):
            turned = [(d[c.l] @ v)[m] for c, v, m in zip(channels, parts, chosen, strict=True)]
            means[number] += weight * np.prod(turned)
    values = np.zeros(len(vectors))
    for number, parts in enumerate(vectors):
        c = np.zeros((1, expansion.size))
        for channel, part in zip(channels, parts, strict=True):
            expansion.split(c)[channel.l][0, :, channel.n] = part
        values[number] = invariants.values(c)[0, target]
    factor = (means @ values) / (values @ values)
    assert abs(factor) > 1e-3
    np.testing.assert_allclose(means, factor * values, atol=1e-10)


def haar_average(degree):
    """Weights and rotations that average polynomials of this degree in l exactly, on a grid of Euler angles."""
    turns = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    cosines, weights = np.polynomial.legendre.leggauss(degree + 1)
    for alpha, gamma in product(turns, turns):
        for cosine, weight in zip(cosines, weights, strict=True):
            yield (
                weight / 2 / len(turns) ** 2,
                Rotation.from_euler("ZYZ", [alpha, np.arccos(cosine), gamma]).as_matrix(),
            )


def test_energies_gradients_and_derivatives():
    expansion, invariants = products((8, 22), functions=200)
    rng = np.random.default_rng(0)
    c = rng.normal(size=(13, invariants.size))
    weights = rng.normal(size=len(invariants))
    energies, gradient = np.empty(13), np.empty_like(c)
    invariants.energies(c, invariants.prepared(weights), energies, gradient)
    np.testing.assert_allclose(energies, invariants.values(c) @ weights, rtol=1e-12)
    direction, step = rng.normal(size=c.shape), 1e-5
    slope = (invariants.values(c + step * direction) - invariants.values(c - step * direction)) @ weights / (2 * step)
    np.testing.assert_allclose((gradient * direction).sum(axis=1), slope, rtol=1e-8, atol=1e-8 * np.abs(slope).max())
    rows = np.array([[0, 0, 1], [0, 1, 0], [5, 1, 1], [12, 0, 0]], dtype=np.int32)
    tangents = rng.normal(size=(4, 3, expansion.size))
    found = invariants.derivatives(c, rows, tangents, 2)
    expected = np.zeros((2, 3, len(invariants)))
    for (centre, block, target), of_row in zip(rows, tangents, strict=True):
        for axis, tangent in enumerate(of_row):
            moved = np.zeros((1, invariants.size))
            moved[0, block * expansion.size : (block + 1) * expansion.size] = step * tangent
            here = c[centre : centre + 1]
            expected[target, axis] -= (invariants.values(here + moved) - invariants.values(here - moved))[0] / (
                2 * step
            )
    np.testing.assert_allclose(found, expected.reshape(6, -1), rtol=1e-7, atol=1e-8 * np.abs(expected).max())


def test_threads_do_not_change_a_bit():
    threads = _ext.cpu.max_threads()
    expansion, _ = products((8, 22), functions=200)
    c = np.random.default_rng(0).normal(size=(1003, 2 * expansion.size))
    results = []
    try:
        for count in (1, 2, 3):
            _ext.cpu.set_threads(count)
            _, invariants = products((8, 22), functions=200)
            energies, gradient = np.empty(len(c)), np.empty_like(c)
            invariants.energies(c, invariants.prepared(np.ones(200)), energies, gradient)
            results.append((energies, gradient))
    finally:
        _ext.cpu.set_threads(threads)
    for energies, gradient in results[1:]:
        np.testing.assert_array_equal(energies, results[0][0])
        np.testing.assert_array_equal(gradient, results[0][1])


def test_truncation():
    rows = truncate(Truncation(functions=500, order=4, l_weight=1.5))
    assert len(rows) == len(np.unique(rows, axis=0)) == 500
    graph = ProductGraph(rows)
    assert all(sum(c.l for c in graph.channels_of(k)) % 2 == 0 for k in range(500))
    with pytest.raises(ValueError, match="functions = 50: there are only 3"):
        truncate(Truncation(functions=50, order=1, n_max=(3,)))
