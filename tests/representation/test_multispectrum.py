"""Multispectra: against the power spectrum, the bispectrum, featomic and Haar integrals; symmetry and derivatives."""

from collections import defaultdict
from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
from ase.build import molecule
from scipy.spatial.transform import Rotation
from structures import barium_titanate, rotation, water

from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.representation.couplings import real_clebsch_gordan
from forceserver.representation.expansion import ExpansionBasis
from forceserver.representation.gto import GtoBasis
from forceserver.representation.invariants import PowerSpectrum, PowerSpectrumBasis, bispectrum
from forceserver.representation.multispectrum import INVARIANT, Irrep, MultispectrumFeatures
from forceserver.representation.multispectrum_config import MultispectrumConfig
from forceserver.representation.multispectrum_fit import all_coefficients, fit, make
from forceserver.representation.neighbours import NeighbourList
from forceserver.representation.spline import SplineTable

CUTOFF = 3.5
ALL_OF_IT = {"n_components": 10_000, "num_expand": None}


@cache
def expansion(n_max=2, l_max=2, species=(1, 6, 8)):
    basis = GtoBasis(
        n_max=n_max,
        l_max=l_max,
        cutoff={"cutoff_angstrom": CUTOFF, "width_angstrom": 0.5},
        density={"kind": "gaussian", "sigma_angstrom": 0.4},
    )
    return ExpansionBasis(dict.fromkeys(species, SplineTable.build(basis, 1e-6)))


@cache
def molecules(copies=4):
    names = ("H2O", "CH3OH", "C2H6", "CH4", "H2CO", "CH3CHO", "C6H6", "CH3COOH", "HCOOH")
    frames = []
    for seed in range(copies):
        for name in names:
            atoms = molecule(name)
            atoms.rattle(0.1, seed=seed)
            frames.append(Frame.of(atoms))
    return frames


@cache
def learned(nu=3, **options):
    e = expansion()
    keys = {"n_components": 12, "n_invariants": 30, "num_expand": 60} | options
    return make(MultispectrumConfig(nu=nu, **keys), e, molecules())


def pairs_of(frame):
    pairs = NeighbourList(frame.species, CUTOFF, pbc=frame.pbc)
    pairs.update(frame.positions, frame.cell)
    return pairs


def test_order_2_is_the_power_spectrum():
    e = expansion()
    spectrum = make(MultispectrumConfig(nu=2, **ALL_OF_IT), e, molecules())
    c, species, _ = all_coefficients(e, molecules())
    x = spectrum.values(c, species)[:, spectrum.order_of == 2]
    basis = PowerSpectrumBasis(e)
    p = np.concatenate([PowerSpectrum(basis, pairs_of(frame)).values() for frame in molecules()])
    assert x.shape == p.shape
    np.testing.assert_allclose(x @ x.T, p @ p.T, atol=1e-12 * (p @ p.T).max())


def test_order_3_is_the_bispectrum():
    """Scalar products are those of the whole bispectrum; each of its entries is a combination of what is kept."""
    e = expansion(2, 2, (8,))
    frames = [Frame.of(atoms) for atoms in (water(), *(barium_titanate(1, 0.2, seed) for seed in range(60)))]
    c, species, _ = all_coefficients(e, frames)
    spectrum = fit(e, c, species, MultispectrumConfig(nu=3, **ALL_OF_IT))
    x = spectrum.values(c, species)[:, spectrum.order_of == 3]
    gram = 0
    entries = []
    for triple, b in bispectrum(e, c).items():
        flat = b.reshape(len(c), -1)
        gram = gram + len(set(permutations(triple))) * flat @ flat.T  # b has l1 <= l2 <= l3 only
        entries.append(flat)
    every = np.hstack(entries)
    rest = every - x @ np.linalg.lstsq(x, every, rcond=1e-9)[0]
    assert np.abs(rest).max() < 1e-7 * np.abs(every).max()
    assert x.shape[1] == np.linalg.matrix_rank(every, tol=1e-6 * np.linalg.norm(every, 2))


def haar(coefficients, nu):
    """int dR (sum_lmm' c_lm D_mm'(R) c_lm')^nu for every centre: the squared length of all its invariants of order nu.

    Over rotations and inversion; the mean over enough Euler angles is exact.
    """
    number = nu * max(coefficients) + 1
    nodes, weights = np.polynomial.legendre.leggauss(number)
    angles = 2 * np.pi * np.arange(number) / number
    total = 0
    for (cos, weight), a, b in product(zip(nodes, weights, strict=True), angles, angles):
        turns = matrices(Rotation.from_euler("zyz", [a, np.arccos(cos), b]).as_matrix(), max(coefficients))
        for sign in (1, -1):
            overlap = sum(sign**l * np.einsum("iamq,mn,ianq->i", c, turns[l], c) for l, c in coefficients.items())
            total = total + weight / 4 / number**2 * overlap**nu
    return total


def matrices(turn, l_max):
    """Of real harmonics, m = -l .. l; for l = 1 these are y, z, x."""
    order = [1, 2, 0]
    found = {0: np.ones((1, 1)), 1: turn[np.ix_(order, order)]}
    for l in range(2, l_max + 1):
        coupling = real_clebsch_gordan(l - 1, 1, l)
        found[l] = np.einsum("abc,ad,be,def->cf", coupling, found[l - 1], found[1], coupling)
    return found


@pytest.mark.parametrize("nu", [2, 3, 4])
def test_lengths_are_haar_integrals(nu):
    """Nothing is lost and nothing counted twice, in any order, if nothing is cut off."""
    e = expansion(1, 1, (6, 8))
    c, species, _ = all_coefficients(e, molecules())
    spectrum = fit(e, c, species, MultispectrumConfig(nu=nu, l_max=3, **ALL_OF_IT))
    lengths = (spectrum.values(c, species)[:, spectrum.order_of == nu] ** 2).sum(axis=1)
    np.testing.assert_allclose(lengths[:20], haar(e.split(c[:20]), nu), rtol=1e-10)


def test_agrees_with_featomic():
    """Scalar products of whole tensor products of order 3, for every irrep, to 1e-10."""
    correlations = pytest.importorskip("featomic.clebsch_gordan").DensityCorrelations
    from featomic import SphericalExpansion as FeatomicExpansion

    atoms = [molecule(name) for name in ("H2O", "CH3OH", "H2CO")]
    calculator = FeatomicExpansion(
        cutoff={"radius": CUTOFF, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={"type": "Gaussian", "width": 0.4},
        basis={"type": "TensorProduct", "max_angular": 2, "radial": {"type": "Gto", "max_radial": 0},
               "spline_accuracy": None},
    )  # fmt: skip
    theirs = calculator.compute(atoms).keys_to_samples("center_type").keys_to_properties("neighbor_type")
    blocks = {(int(k["o3_lambda"]), int(k["o3_sigma"])): block for k, block in theirs.items()}
    tensor = correlations(n_correlations=2, max_angular=4, skip_redundant=False).compute(
        theirs, angular_cutoff=2, selected_keys=None
    )
    e = expansion(1, 2)
    samples = np.array([[int(s["system"]), int(s["atom"])] for s in blocks[0, 1].samples])
    order = np.lexsort(samples.T[::-1])
    c = np.zeros((len(order), 3, e.size))
    for l, view in e.split(c).items():
        view[:] = np.swapaxes(blocks[l, 1].values[order].reshape(len(order), 2 * l + 1, 3, 1), 1, 2)
    species = np.concatenate([m.numbers for m in atoms])
    config = MultispectrumConfig(nu=3, equivariants=(0, 1, 2), residual_variance=1e-14, num_expand=None)
    mine = fit(e, np.tile(c, (30, 1, 1)), np.tile(species, 30), config).equivariants(c, species)
    grams = defaultdict(float)
    for key, block in tensor.items():
        x = block.values[order]
        grams[Irrep(int(key["o3_lambda"]), int(key["o3_sigma"]))] += np.einsum("imk,jnk->ijmn", x, x)
    assert len(grams) == 6
    for irrep, wanted in grams.items():
        ours = np.einsum("imk,jnk->ijmn", mine[3, irrep], mine[3, irrep])
        np.testing.assert_allclose(ours, wanted, atol=1e-10 * np.abs(wanted).max())


@pytest.mark.parametrize("options", [{}, {"per_centre_species": True, "residual_variance": 1e-3}])
def test_invariance(options):
    """Under rotations and inversion; what turns does so as its degree and parity say."""
    spectrum = learned(4, equivariants=(1, 2), **options)
    frame = molecules()[3]
    (c, species, _), (again, _, _) = (all_coefficients(expansion(), [f]) for f in (frame, turned(frame, rotation(1))))
    values = spectrum.values(c, species)
    np.testing.assert_allclose(spectrum.values(again, species), values, atol=1e-12 * np.abs(values).max())
    inverted = all_coefficients(expansion(), [turned(frame, -np.eye(3))])[0]
    np.testing.assert_allclose(spectrum.values(inverted, species), values, atol=1e-12 * np.abs(values).max())
    before, after = (spectrum.equivariants(x, species) for x in (c, again))
    mirrored, turns = spectrum.equivariants(inverted, species), matrices(rotation(1), 2)
    assert {irrep for nu, irrep in before if nu == 4} == {INVARIANT, *(Irrep(l, p) for l in (1, 2) for p in (1, -1))}
    for (nu, irrep), part in before.items():
        largest = np.abs(part).max()
        np.testing.assert_allclose(
            after[nu, irrep], np.einsum("mn,ink->imk", turns[irrep.l], part), atol=1e-11 * largest
        )
        np.testing.assert_allclose(mirrored[nu, irrep], irrep.parity * (-1) ** irrep.l * part, atol=1e-11 * largest)


def turned(frame, turn):
    return Frame(frame.positions @ turn.T, frame.cell, frame.species, frame.pbc)


@pytest.mark.parametrize("options", [{}, {"per_centre_species": True, "residual_variance": 1e-3}])
def test_forces_are_derivatives(options):
    spectrum = learned(**options)
    frame = molecules()[12]
    weight = np.random.default_rng(0).normal(size=(len(frame), len(spectrum)))

    def energy(positions):
        moved = Frame(positions, frame.cell, frame.species, frame.pbc)
        features = MultispectrumFeatures(spectrum, pairs_of(moved))
        return (weight * features.values()).sum(), features.vjp(weight)[0].copy()

    forces, h = energy(frame.positions)[1], 1e-5
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-11 * np.abs(forces).max())
    for atom, axis in ((0, 0), (1, 2), (3, 1)):
        step = np.zeros_like(frame.positions)
        step[atom, axis] = h
        slope = (energy(frame.positions + step)[0] - energy(frame.positions - step)[0]) / (2 * h)
        assert forces[atom, axis] == pytest.approx(-slope, abs=1e-6 * np.abs(forces).max())


def test_blocks_change_nothing(monkeypatch):
    c, species, _ = all_coefficients(expansion(), molecules())
    spectrum = learned(3)
    values = spectrum.values(c, species)
    slopes = spectrum.pull_back(c, species, np.sin(values))
    monkeypatch.setattr("forceserver.representation.multispectrum.BLOCK_BYTES", 400_000)
    again = fit(expansion(), c, species, MultispectrumConfig(nu=3, n_components=12, n_invariants=30, num_expand=60))
    for mine in (spectrum, again):
        lengths = (mine.values(c, species) ** 2).sum(axis=0)
        np.testing.assert_allclose(lengths, (values**2).sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        spectrum.pull_back(c, species, np.sin(values)), slopes, atol=1e-12 * np.abs(slopes).max()
    )


def test_what_is_kept_has_the_largest_variance():
    """Variances are those of the features, descending, and those that are asked for."""
    c, species, _ = all_coefficients(expansion(), molecules())
    spectrum = learned()
    values = spectrum.values(c, species)
    for nu, level in enumerate(spectrum.levels[0], 2):
        found = (values[:, spectrum.order_of == nu] ** 2).mean(axis=0)
        np.testing.assert_allclose(found, level[INVARIANT].variances[: len(found)], rtol=1e-6)
        assert (np.diff(found) <= 1e-12 * found[0]).all()
        assert all(part.matrix.shape[1] <= 12 for irrep, part in level.items() if irrep != INVARIANT)
    few = learned(n_components=None, n_invariants=None, residual_variance=1e-2)
    for level in few.levels[0]:
        for part in level.values():
            left = 1 - part.variances[: part.matrix.shape[1]].sum() / part.variances.sum()
            assert left <= 1e-2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 400, "num_expand": None}, r"\d+ centres do not determine \d+ components \(nu = 2, l = 0\)"),
        (
            {"n_components": 40, "per_centre_species": True, "num_expand": None},
            r"centres of one species do not determine \d+ components",
        ),
    ],
)
def test_structures_that_do_not_suffice(options, message):
    with pytest.raises(InputError, match=message):
        make(MultispectrumConfig(nu=2, **options), expansion(3, 2), molecules(1)[:6])


def test_what_does_not_fit_in_memory_is_refused(monkeypatch):
    e = expansion()
    monkeypatch.setattr("forceserver.memory.physical_memory", lambda: 1e5)
    with pytest.raises(InputError, match=r"all density coefficients takes 0\.000.* GB of memory, and this machine has"):
        make(MultispectrumConfig(nu=3, n_components=5), e, molecules())
    monkeypatch.setattr("forceserver.memory.physical_memory", lambda: 2e6)
    with pytest.raises(InputError, match=r"the second moments of \d+ products .* make num_expand smaller"):
        make(MultispectrumConfig(nu=3, n_components=30, num_expand=None), e, molecules())


def test_centres_that_nothing_was_learned_of():
    spectrum = learned(per_centre_species=True)
    c, _, _ = all_coefficients(expansion(), molecules()[:1])
    with pytest.raises(InputError, match="no component for centres Si, only for H, C, O"):
        spectrum.values(c, np.array([14, 1, 1]))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"nu": 3}, "n_components or residual_variance is missing"),
        ({"nu": 5, "n_components": 3}, "less than or equal to 4"),
        ({"n_components": 30, "n_invariants": 20}, "n_invariants must be at least n_components"),
        ({"n_components": 3, "equivariants": (13,)}, "l must be in 0 .. 12, got 13"),
    ],
)
def test_keys(keys, message):
    with pytest.raises(ValueError, match=message):
        MultispectrumConfig(**keys)
