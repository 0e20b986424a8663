"""Contracted radial bases: against featomic and scikit-learn by hand, what they keep, and what is refused."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from featomic import SphericalExpansion as FeatomicExpansion
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import TruncatedSVD
from structures import barium_titanate, water

from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.representation import contraction_file
from forceserver.representation.contraction import ALL, Contraction, Covariance, left_over
from forceserver.representation.contraction_config import ContractionConfig
from forceserver.representation.dvr import DvrBasis
from forceserver.representation.expansion import SphericalExpansion
from forceserver.representation.gto import GtoBasis
from forceserver.representation.invariants import PowerSpectrum, PowerSpectrumBasis
from forceserver.representation.laplacian import LaplacianBasis
from forceserver.representation.neighbours import NeighbourList, Selection

SPECIES = (8, 22, 56)
TITANATES = [barium_titanate(n=1, rattle=0.1, seed=seed) for seed in range(3)]
FRAMES = [Frame.of(atoms) for atoms in TITANATES]


def basis(kind=GtoBasis, n_max=6, l_max=3, cutoff=3.5, sigma=0.4, width=0.5):
    return kind(
        n_max=n_max,
        l_max=l_max,
        cutoff={"cutoff_angstrom": cutoff, "width_angstrom": width},
        density={"kind": "gaussian", "sigma_angstrom": sigma},
    )


def neighbours(frame, cutoff=3.5):
    pairs = NeighbourList(frame.species, cutoff, pbc=frame.pbc)
    pairs.update(frame.positions, frame.cell)
    return pairs


def by_featomic(l, mixed, species):
    """Coefficients (environments and m, radial functions) of featomic; of all species side by side if mixed."""
    calculator = FeatomicExpansion(
        cutoff={"radius": 3.5, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={"type": "Gaussian", "width": 0.4},
        basis={"type": "TensorProduct", "max_angular": 3, "radial": {"type": "Gto", "max_radial": 5},
               "spline_accuracy": None},
    )  # fmt: skip
    blocks = calculator.compute(TITANATES).keys_to_samples("center_type")
    wanted = SPECIES if mixed else (species,)
    parts = [blocks.block({"o3_lambda": l, "o3_sigma": 1, "neighbor_type": a}) for a in wanted]
    atoms = [[tuple(map(int, sample))[:2] for sample in part.samples] for part in parts]
    everyone = sorted(set().union(*atoms))
    out = np.zeros((len(everyone), 2 * l + 1, len(wanted), 6))
    for k, (part, rows) in enumerate(zip(parts, atoms, strict=True)):
        out[[everyone.index(row) for row in rows], :, k] = part.values
    return out.reshape(len(everyone) * (2 * l + 1), -1), sum(map(len, TITANATES))


@cache
def accurate():
    return Covariance.of(basis(), FRAMES, SPECIES, tolerance=1e-12)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("l", [0, 1, 3])
def test_agrees_with_featomic_and_scikit_learn(l, mixed):
    """To 1e-10: eigenvalues, and the space that is kept."""
    found = accurate().contraction(mixed=mixed, q_max=4)
    for species in (ALL,) if mixed else SPECIES:
        c, environments = by_featomic(l, mixed, species)
        svd = TruncatedSVD(4, algorithm="arpack", tol=1e-14).fit(c)
        values = svd.singular_values_**2 / environments
        np.testing.assert_allclose(found.eigenvalues[species][l, :4], values, atol=1e-10 * values[0])
        ours = np.hstack([found.matrices[s][l] for s in (SPECIES if mixed else (species,))])
        largest = svd.components_[np.arange(4), np.abs(svd.components_).argmax(axis=1)]
        np.testing.assert_allclose(ours, svd.components_ * np.sign(largest)[:, None], atol=1e-8)
        np.testing.assert_allclose(c @ ours.T @ ours, c @ svd.components_.T @ svd.components_, atol=1e-10)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", [GtoBasis, LaplacianBasis])
def test_expansion_is_the_contraction_of_the_coefficients(kind, mixed):
    primitive = basis(kind)
    covariance = Covariance.of(primitive, FRAMES, SPECIES, tolerance=1e-4)
    found = covariance.contraction(mixed=mixed, q_max=4, residual_variance=1e-5)
    contracted = found.expansion(1e-4)
    c = Covariance.of(primitive, FRAMES[:1], SPECIES, tolerance=1e-4)  # of one structure: its own second moments
    pairs = neighbours(FRAMES[0])
    values = contracted.split(SphericalExpansion(contracted, pairs).values())
    assert contracted.n_blocks == (1 if mixed else 3)
    assert tuple(contracted.counts.values()) == found.counts
    for l, q in enumerate(found.counts):
        n = c.matrices[l].shape[1]
        u = np.stack([found.matrices[s][l, :q, :n] for s in SPECIES])
        second = np.einsum("ibmq,ibmr->bqr", values[l], values[l]) / len(FRAMES[0])
        wanted = (
            np.einsum("aqn,anbk,brk->qr", u, c.matrices[l], u)[None]
            if mixed
            else np.einsum("aqn,anak,ark->aqr", u, c.matrices[l], u)
        )
        np.testing.assert_allclose(second, wanted, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("mixed", [False, True])
def test_forces_are_derivatives(mixed):
    """Of invariants in the contracted functions, through all species."""
    expansion = Covariance.of(basis(), FRAMES, SPECIES).contraction(mixed=mixed, q_max=3).expansion(1e-6)
    spectrum = PowerSpectrumBasis(expansion, normalise=True)
    atoms = barium_titanate(n=1, rattle=0.2, seed=9)

    def energy(positions):
        pairs = NeighbourList(atoms.numbers, 3.5, pbc=True)
        pairs.update(positions, atoms.cell.array)
        features = PowerSpectrum(spectrum, pairs)
        weight = np.random.default_rng(1).normal(size=features.values().shape)
        return (weight * features.values()).sum(), features.vjp(weight)[0].copy()

    forces, h = energy(atoms.positions)[1], 1e-5
    for atom, axis in ((0, 0), (1, 2), (3, 1)):
        step = np.zeros_like(atoms.positions)
        step[atom, axis] = h
        slope = (energy(atoms.positions + step)[0] - energy(atoms.positions - step)[0]) / (2 * h)
        assert forces[atom, axis] == pytest.approx(-slope, abs=1e-6 * np.abs(forces).max())


def test_no_other_functions_keep_more():
    """Not those of the primitives, and none that are drawn at random."""
    covariance = Covariance.of(basis(), FRAMES, SPECIES)
    found = covariance.contraction(mixed=True, q_max=5)
    for l, matrix in enumerate(covariance.matrices):
        c = matrix.reshape(18, 18)
        kept = (1 - found.residual()[l, 5]) * np.trace(c)
        others = [np.eye(18)[:5], *(np.linalg.qr(np.random.default_rng(s).normal(size=(18, 5)))[0].T for s in range(9))]
        assert all(np.trace(u @ c @ u.T) < kept for u in others)


@pytest.mark.parametrize(("residual", "mixed"), [(1e-2, False), (1e-4, False), (1e-4, True)])
def test_residual_variance_says_how_many(residual, mixed):
    found = Covariance.of(basis(), FRAMES, SPECIES).contraction(mixed=mixed, residual_variance=residual)
    for l, q in enumerate(found.counts):
        left = np.array([found.residual(s)[l] for s in found.eigenvalues])
        assert (left[:, q] <= residual).all()
        assert (left[:, q - 1] > residual).any()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_what_is_left_over(variances):
    left = left_over(np.sort(variances)[::-1])
    assert left[0] in (0.0, 1.0)
    assert left[-1] == 0
    assert (np.diff(left) <= 0).all()


def test_of_one_species_of_centres():
    everyone = Covariance.of(basis(), FRAMES, SPECIES)
    parts = [Covariance.of(basis(), FRAMES, SPECIES, centres=Selection(species=(s,))) for s in SPECIES]
    assert [part.environments for part in parts] == [9, 3, 3]
    for l, matrix in enumerate(everyone.matrices):
        joined = sum(part.environments * part.matrices[l] for part in parts) / 15
        np.testing.assert_allclose(joined, matrix, atol=1e-12 * np.abs(matrix).max())
    water_has_none = Covariance.of(basis(), [*FRAMES, Frame.of(water())], SPECIES, centres=Selection(species=(22,)))
    assert water_has_none.environments == 3


def test_optimal_functions_are_those_of_the_data_not_of_the_primitives():
    """GTO and DVR with 20 functions lead to the same, where the density ends inside the cutoff.

    Within one sigma of the cutoff it does not: a Gaussian reaches beyond, where DVR has no functions.
    """
    frames = [Frame.of(atoms) for atoms in read(Path(__file__).parents[1] / "data" / "silicon.extxyz", ":")]
    r = np.linspace(0, 6, 3001)
    optimal = []
    for kind in (GtoBasis, DvrBasis):
        primitive = basis(kind, n_max=20, l_max=0, cutoff=6.0, sigma=0.5, width=3.0)
        found = Covariance.of(primitive, frames, [14], tolerance=1e-6).contraction(q_max=6)
        optimal.append(found.radial(r)[14][:, 0] * r[:, None])
    overlap = np.abs((optimal[0] * optimal[1]).sum(axis=0)) * (r[1] - r[0])
    assert overlap[:5].min() > 0.999
    assert overlap[5] > 0.99


@pytest.mark.parametrize("mixed", [False, True])
def test_degrees_without_functions(mixed):
    """Two Laplacian eigenstates of l = 0 leave none for l = 3."""
    covariance = Covariance.of(basis(LaplacianBasis, n_max=2), FRAMES, SPECIES, tolerance=1e-3)
    found = covariance.contraction(mixed=mixed, residual_variance=1e-3)
    assert [m.shape[1] for m in covariance.matrices] == list(covariance.basis.counts)
    assert found.counts[3] == 0
    assert list(found.expansion(1e-3).counts) == [0, 1, 2]


def made(mixed=False) -> Contraction:
    return Covariance.of(basis(), FRAMES, SPECIES).contraction(mixed=mixed, q_max=4, residual_variance=1e-3)


@pytest.mark.parametrize("mixed", [False, True])
def test_file(mixed, tmp_path):
    contraction = made(mixed)
    contraction_file.save(contraction, tmp_path / "basis.npz")
    again = contraction_file.load(tmp_path / "basis.npz")
    assert (again.basis, again.sum_species, again.counts) == (contraction.basis, mixed, contraction.counts)
    for name in ("matrices", "eigenvalues"):
        mine, theirs = getattr(contraction, name), getattr(again, name)
        assert mine.keys() == theirs.keys()
        for s in mine:
            np.testing.assert_array_equal(mine[s], theirs[s])


def test_damaged_files(tmp_path):
    path = tmp_path / "basis.npz"
    contraction_file.save(made(), path)
    with np.load(path) as file:
        good = dict(file)

    def refused(message, **changes):
        arrays = {name: array for name, array in (good | changes).items() if array is not None}
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=message):
            contraction_file.load(path)

    refused("checksum is wrong", **{"matrices/8": good["matrices/8"] + 1})
    refused("matrices/22: this array is missing", **{"matrices/22": None})
    refused(r"matrices/56: is float64 \(4, 1, 6\), must be", **{"matrices/56": np.zeros((4, 1, 6))})
    refused("extra: no such array", extra=np.zeros(3))
    refused("is not a forceserver contraction but 'other'", header=np.frombuffer(b'{"format": "other"}', np.uint8))
    later = good["header"].tobytes().replace(b'"version":1', b'"version":9')
    refused("has schema version 9", header=np.frombuffer(later, np.uint8))
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"basis\.npz: it is damaged, or not an \.npz file"):
        contraction_file.load(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"q_max": 7}, r"q_max = 7 is larger than the number of radial functions \(n_max = 6\)"),
        ({"q_max": 19, "mixed": True}, r"q_max = 19 .* \(n_max = 6 for 3 species\)"),
        ({"q_max": 16, "mixed": True}, "15 environments do not determine 16 functions"),
        ({}, "give q_max or residual_variance"),
    ],
)
def test_counts_that_cannot_be(arguments, message):
    with pytest.raises(InputError, match=message):
        Covariance.of(basis(), FRAMES, SPECIES).contraction(**arguments)


def test_structures_that_do_not_suffice():
    with pytest.raises(InputError, match="no centre in the structures has a neighbour Si within"):
        Covariance.of(basis(), FRAMES, (8, 14))
    doubled = Frame.of(TITANATES[0])
    doubled.positions[1] = doubled.positions[0]
    with pytest.raises(InputError, match="structure 1: "):
        Covariance.of(basis(), [FRAMES[0], doubled], SPECIES)


def test_of_another_basis_or_species(tmp_path):
    contraction = made()
    contraction_file.save(contraction, tmp_path / "basis.npz")
    config = ContractionConfig(file=tmp_path / "basis.npz")
    config.make(basis(), [], (8, 22))
    with pytest.raises(
        InputError,
        match=r"was made for the basis cutoff.cutoff_angstrom = 3.5, and cannot be used with cutoff.cutoff_angstrom = ",
    ):
        config.make(basis(cutoff=4.0), [], SPECIES)
    with pytest.raises(InputError, match=r"was made for the basis kind = gto, and cannot be used with kind = dvr"):
        config.make(basis(DvrBasis), [], SPECIES)
    with pytest.raises(InputError, match="has no functions for neighbours Si, only for O, Ti, Ba"):
        config.make(basis(), [], (8, 14))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "pca"}, "q_max, residual_variance or file is missing"),
        ({"q_max": 3, "file": __file__}, "leave out q_max, or file"),
        ({"q_max": 0}, "greater than or equal to 1"),
        ({"residual_variance": 1.0}, "less than 1"),
    ],
)
def test_keys(keys, message):
    with pytest.raises(ValueError, match=message):
        ContractionConfig(**keys)
