"""Rows of the design matrix are what the potential computes in reverse mode."""

import numpy as np
import pytest

from forceserver.fit.config import PairDescriptor
from forceserver.fit.rows import UPPER, PairRows, SoapRows, isolated_features
from forceserver.frame import Frame
from forceserver.models.kernel import GapModel, SoapHypers, SoapTerm
from forceserver.potentials.gap import GapPotential
from forceserver.potentials.pair import PairPotential


def soap_case(frame, zeta, normalise, features=None, known=()):
    hypers = SoapHypers.model_validate(
        {
            "basis": {
                "kind": "gto",
                "n_max": 4,
                "l_max": 3,
                "cutoff": {"cutoff_angstrom": 3.5, "width_angstrom": 0.7},
                "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
            },
            "zeta": zeta,
            "normalise": normalise,
        }
    )
    rng = np.random.default_rng(3)
    species = tuple(np.unique(frame.species).tolist())
    basis = hypers.power_spectrum(species)
    if features:
        basis = hypers.power_spectrum(species, basis.features[rng.permutation(len(basis))[:features]])
    points = {}
    for k, s in enumerate(species):
        q = rng.normal(size=(5 + 3 * k, len(basis)))
        points[s] = q / np.linalg.norm(q, axis=1, keepdims=True)
    rows = SoapRows(hypers, basis, points, 1.0, isolated={s: isolated_features(basis, s) for s in known})
    weights = rng.normal(size=rows.size)
    term = SoapTerm(hypers, basis.features, rows.points, rows.split(weights))
    return rows, weights, GapPotential(GapModel(species, dict.fromkeys(species, 0.0), (term,)))


def compare(rows, weights, result):
    scale = np.abs(result.forces).max()
    assert rows.energy @ weights == pytest.approx(result.energy, rel=1e-10, abs=1e-8)
    np.testing.assert_allclose(rows.forces @ weights, result.forces.ravel(), atol=1e-8 * scale)
    np.testing.assert_allclose(rows.virial @ weights, result.virial.ravel()[UPPER], atol=1e-8 * scale)


@pytest.mark.parametrize(
    ("zeta", "normalise", "features"), [(1, True, None), (4, True, None), (2, False, None), (3, True, 40)]
)
def test_soap_rows_are_the_forces_and_virial_of_the_potential(batio3, zeta, normalise, features):
    frame = Frame.from_ase(batio3)
    rows, weights, potential = soap_case(frame, zeta, normalise, features)
    compare(rows.rows(frame, True, True), weights, potential.compute_one(frame))


@pytest.mark.parametrize(("zeta", "normalise"), [(1, True), (4, True), (2, False)])
def test_energies_of_isolated_atoms_are_exact(batio3, zeta, normalise):
    """Whatever the weights, for the species that were asked for; elsewhere rows are still what the potential does."""
    frame = Frame.from_ase(batio3)
    rows, weights, potential = soap_case(frame, zeta, normalise, known=(8, 22))
    compare(rows.rows(frame, True, True), weights, potential.compute_one(frame))
    root = rows.regulariser()
    assert root.shape == (rows.size, rows.size)
    for number, exact in ((8, True), (22, True), (56, False)):
        atom = Frame(np.zeros((1, 3)), np.eye(3), np.array([number], np.int32), np.zeros(3, bool))
        energy = potential.compute_one(atom).energy
        assert (abs(energy) < 1e-12 * np.abs(weights).sum()) == exact
        assert rows.rows(atom, True, False).energy @ weights == pytest.approx(energy, abs=1e-10)


def test_prior_of_functions_that_vanish_for_the_atom(batio3):
    """S^T S is the kernel of the points given that the function is zero at the atom: the Schur complement."""
    frame = Frame.from_ase(batio3)
    rows, _, _ = soap_case(frame, 3, True, known=(8,))
    points = rows.points[8]
    whole = (points @ points.T) ** 3
    root = rows.regulariser()[: len(points) - 1, : len(points) - 1]
    np.testing.assert_allclose(root.T @ root, np.linalg.inv(np.linalg.inv(whole)[1:, 1:]), atol=1e-10)


def test_soap_rows_in_chunks(batio3, monkeypatch):
    frame = Frame.from_ase(batio3)
    rows, _, _ = soap_case(frame, 2, True)
    whole = rows.rows(frame, True, False)
    monkeypatch.setattr("forceserver.fit.rows.CHUNK_BYTES", 1 << 18)
    np.testing.assert_allclose(rows.rows(frame, True, False).forces, whole.forces, atol=1e-12)


def test_pair_rows_are_the_forces_and_virial_of_the_splined_potential(batio3):
    frame = Frame.from_ase(batio3)
    descriptor = PairDescriptor(kind="pair", cutoff_angstrom=4.0, smoothing_angstrom=1.0, n_sparse=3)
    rows = PairRows(np.unique(frame.species).tolist(), descriptor)
    weights = np.random.default_rng(5).normal(size=rows.size)
    result = PairPotential(rows.interactions(weights)).compute_one(frame)
    compare(rows.rows(frame, True, True), weights, result)


def test_only_what_is_asked_for(batio3):
    frame = Frame.from_ase(batio3)
    rows, _, _ = soap_case(frame, 2, True)
    some = rows.rows(frame, False, False)
    assert some.forces is None
    assert some.virial is None
    np.testing.assert_allclose(some.energy, rows.rows(frame, True, True).energy, rtol=1e-12)
