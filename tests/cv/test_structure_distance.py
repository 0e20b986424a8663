"""Similarity to references: against its definition, along a path, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from pydantic import TypeAdapter
from variable_kinds import BASIS, references_file

from forceserver.cv import CollectiveVariable
from forceserver.errors import InputError
from forceserver.representation.bases import AnyRadialBasis
from forceserver.representation.expansion import ExpansionBasis
from forceserver.representation.invariants import PowerSpectrum, PowerSpectrumBasis
from forceserver.representation.neighbours import NeighbourList
from forceserver.representation.spline import splined


def similar(atoms, references, **keys):
    common = {"kind": "distance_to_structure", "centres": ["Ti", "O"], "neighbours": ["Ti", "O"], "basis": BASIS}
    return CollectiveVariable(atoms, **(common | {"references": references} | keys))


def named(cv, atoms):
    return dict(zip(cv.outputs, cv.compute(atoms).values.tolist(), strict=True))


@pytest.fixture(scope="module")
def crystals():
    from ase.io import read

    return read(references_file("three.extxyz"), ":")


def spectra(atoms):
    table = splined(TypeAdapter(AnyRadialBasis).validate_python(BASIS), 1e-8)
    basis = PowerSpectrumBasis(ExpansionBasis(dict.fromkeys((8, 22), table)), normalise=True)
    pairs = NeighbourList(atoms.numbers, basis.expansion.cutoff)
    pairs.update(atoms.positions, atoms.cell.array)
    return PowerSpectrum(basis, pairs).values()


def test_values_are_those_of_the_definition(crystals):
    """Centre by centre; only environments of the same species are compared."""
    atoms = crystals[0].copy()
    atoms.rattle(0.3, seed=9)
    zeta, kappa, lam = 3, 15.0, 2.0
    keys = {"zeta": zeta, "sharpness": kappa, "path_lambda": lam, "outputs": ["similarity", "distance", "s", "z"]}
    found = named(similar(atoms, references_file("three.extxyz"), **keys, per_centre=[2]), atoms)
    each = np.empty((4, 3))
    for i, p in enumerate(spectra(atoms)):
        for r, reference in enumerate(crystals):
            same = reference.numbers == atoms.numbers[i]
            k = (spectra(reference)[same] @ p) ** zeta
            each[i, r] = np.sum(k * np.exp(kappa * k)) / np.sum(np.exp(kappa * k))
    for prefix, similarity in (("", each.mean(axis=0)), ("atom2_", each[2])):
        square = 2 - 2 * similarity
        weights = np.exp(-lam * square)
        for r in range(3):
            assert found[f"{prefix}similarity{r + 1}"] == pytest.approx(similarity[r], abs=1e-12)
            assert found[f"{prefix}distance{r + 1}"] == pytest.approx(np.sqrt(square[r]), abs=1e-10)
        assert found[f"{prefix}s"] == pytest.approx(weights @ [1, 2, 3] / weights.sum(), abs=1e-12)
        assert found[f"{prefix}z"] == pytest.approx(-np.log(weights.sum()) / lam, abs=1e-12)


def test_a_copy_of_a_reference_is_at_distance_zero(crystals):
    """However many different environments it has, turned and repeated; with no force, and not NaN."""
    copy = crystals[1].repeat((1, 2, 1))
    copy.rotate(30, (1, 1, 0), rotate_cell=True)
    cv = similar(copy, references_file("three.extxyz"), sharpness=1e4, outputs=["similarity", "distance"])
    found = named(cv, copy)
    assert found["similarity2"] == pytest.approx(1.0, abs=1e-5)
    assert found["distance2"] == pytest.approx(0.0, abs=3e-3)
    assert found["distance1"] > 0.05
    assert np.isfinite(cv.compute(copy).gradients).all()


def test_s_counts_the_references_of_a_path(tmp_path):
    """A crystal that is sheared step by step: s is the number of the step, z is flat."""
    path = []
    for step in range(5):
        atoms = bulk("Cu", a=3.6, cubic=True)
        atoms.set_cell(atoms.cell.array @ [[1, 0.05 * step, 0], [0, 1, 0], [0, 0, 1]], scale_atoms=True)
        path.append(atoms)
    write(tmp_path / "path.extxyz", path)
    keys = {"centres": "Cu", "neighbours": "Cu", "zeta": 4, "outputs": ["s", "z"]}
    cv = similar(path[0], tmp_path / "path.extxyz", **keys)
    s, z = np.array([cv.compute(atoms).values for atoms in path]).T
    np.testing.assert_allclose(s, [1, 2, 3, 4, 5], atol=0.4)  # the first two are closer than the others
    assert np.all(np.diff(s) > 0.3)
    assert np.ptp(z) < 0.01


def test_a_mixture_is_similar_in_proportion(tmp_path):
    """Half fcc, half far apart: half of the similarity; groups tell the halves apart."""
    crystal = bulk("Cu", a=3.6, cubic=True).repeat(2)
    write(tmp_path / "fcc.extxyz", crystal)
    gas = Atoms("Cu32", positions=50 + np.arange(32)[:, None] * [0, 0, 20.0])
    both = Atoms(crystal.symbols, crystal.positions) + gas
    keys = {"centres": "Cu", "neighbours": "Cu", "outputs": ["similarity"], "zeta": 1}
    halves = {"crystal": list(range(32)), "gas": list(range(32, 64))}
    parts = named(similar(both, tmp_path / "fcc.extxyz", **keys, groups=halves), both)
    whole = named(similar(both, tmp_path / "fcc.extxyz", **keys), both)["similarity1"]
    assert whole == pytest.approx(0.5 * sum(parts.values()), abs=1e-12)


@pytest.mark.parametrize(
    ("reference", "changes", "message"),
    [
        ("Cu4", {}, "references: structure 1 has no centre Ti, O, only Cu"),
        ("Ti4", {}, "structure 1 has no centre O, only Ti: those of another species are not comparable"),
        ("Ti2O2", {"outputs": ["s"]}, "there is one structure; s and z need a path of two"),
        ("Ti2O2", {"path_lambda": 2.0}, "path_lambda belongs to the outputs s and z"),
        ("Ti2O2", {"zeta": 0}, "greater than or equal to 1"),
        ("Ti2O2", {"outputs": []}, "nothing to compute"),
        ("Ti2O2", {"centres": [0, 9]}, "indices must be in 0 .. 3"),
        ("Ti2O2", {"references": "nowhere.xyz"}, "there is no file nowhere.xyz"),
    ],
)
def test_what_cannot_be(crystals, tmp_path, reference, changes, message):
    atoms = crystals[0].copy()
    atoms.symbols = reference
    write(tmp_path / "r.extxyz", atoms)
    template = crystals[0].repeat(3)
    with pytest.raises(InputError, match=message):
        similar(template, **({"references": tmp_path / "r.extxyz"} | changes))


def test_references_with_neighbours_that_are_unknown(crystals, tmp_path):
    """By indices they may be of other species than in the structure of the simulation."""
    other = crystals[0].copy()
    other.symbols = "TiNTiO"
    write(tmp_path / "r.extxyz", other)
    with pytest.raises(
        InputError, match="structure 1: has neighbours N, which the structure of the simulation has not"
    ):
        similar(crystals[0], tmp_path / "r.extxyz", centres=[0, 2], neighbours=[0, 1, 2, 3])


def test_the_same_structure_twice_on_a_path(crystals, tmp_path):
    write(tmp_path / "r.extxyz", [crystals[0], crystals[1], crystals[1]])
    with pytest.raises(InputError, match="structures 2 and 3 are the same"):
        similar(crystals[0], tmp_path / "r.extxyz", outputs=["s"], sharpness=1e4)
