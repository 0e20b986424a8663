"""Whole fits of small cluster expansions, by the same code as kernel models."""

import json

import numpy as np
import pydantic
import pytest
from ase import Atoms
from ase.build import bulk
from test_fit import DATA, rmse

from forceserver.analysis import parity
from forceserver.errors import InputError
from forceserver.fit import preparation, run
from forceserver.fit.ace_rows import AceRows
from forceserver.fit.columns import columns_of
from forceserver.fit.config import AceDescriptor, FitConfig
from forceserver.fit.defaults import polynomial_basis
from forceserver.fit.progress import silent
from forceserver.fit.rows import UPPER
from forceserver.frame import Frame
from forceserver.models.ace import AceModel
from forceserver.potentials.ace import AcePotential
from forceserver.potentials.conformance import check_potential
from forceserver.representation.products import Truncation


@pytest.fixture
def ace(tmp_path):
    return {
        "model": "ace",
        "functions": 150,
        "cutoff_angstrom": 4.5,
        "output": str(tmp_path / "ace.npz"),
        "data": {"train": str(DATA)},
        "sigma": {"default": {"energy_ev": 0.003, "force_ev_per_angstrom": 0.1}},
    }


def test_data_cutoff_and_a_number_are_enough(ace):
    """The model meets its data, is a potential like any other, and repels within."""
    fit = run.fit(FitConfig.model_validate(ace))
    assert isinstance(fit.model, AceModel)
    assert rmse(fit.model, fit.train, parity.ENERGY) < 5e-3
    assert rmse(fit.model, fit.train, parity.FORCE) < 0.25
    potential = AcePotential(AceModel.load(fit_output(ace)), uncertainty=True)
    check_potential(potential, Frame.from_ase(bulk("Si", cubic=True)), tolerance=1e-4).raise_on_failure()
    assert potential.compute_one(fit.train[0].frame).extras["committee_uncertainty"] > 0
    dimers = [limit for limit in fit.limits if limit.what.startswith("dimer")]
    assert dimers
    assert not any(limit.hole for limit in dimers)


def fit_output(content):
    return FitConfig.model_validate(content).output


def test_an_isolated_atom_has_its_energy_exactly(ace, alloy):
    ace |= {"data": {"train": str(alloy)}, "functions": 60, "sigma": {"default": {"energy_ev": 0.001}}}
    fit = run.fit(FitConfig.model_validate(ace))
    potential = AcePotential(fit.model)
    for species, energy in fit.model.energies.items():
        alone = Frame(np.zeros((1, 3)), np.eye(3), np.array([species], dtype=np.int32), np.zeros(3, dtype=bool))
        assert potential.compute_one(alone).energy == energy
    assert set(fit.model.weights) == {29, 79}
    assert rmse(fit.model, fit.train, parity.FORCE) < 0.2


@pytest.mark.parametrize(
    ("species", "r0"),
    [((14,), 2.3), ((14, 32), 2.3), ((14, 32), {"Si-Si": 2.2, "Si-Ge": 2.4, "Ge-Ge": 2.5})],
    ids=["one", "two", "by pair"],
)
def test_rows_are_energies_forces_and_virials(species, r0):
    """Of every function alone, those of the potential with this weight only."""
    rng = np.random.default_rng(0)
    atoms = bulk("Si", cubic=True)
    atoms.numbers[: len(atoms) // 2] = species[-1]
    atoms.rattle(0.2, seed=3)
    frame = Frame.from_ase(atoms)
    basis = {
        "n_max": 6,
        "l_max": 3,
        "cutoff": {"cutoff_angstrom": 4.0},
        "transform": {"kind": "agnesi", "r0_angstrom": r0},
    }
    truncation = Truncation(functions=60, order=4, n_max=(6,), l_max=(0, 3, 3, 3))
    columns = AceRows(species, AceDescriptor(kind="ace", basis=basis, truncation=truncation))
    rows = columns.rows(frame, True, True)
    weights = rng.normal(size=columns.size)
    model = AceModel(species, dict.fromkeys(species, 0.0), columns.hypers, columns.functions, columns.split(weights))
    result = AcePotential(model).compute_one(frame)
    assert rows.energy @ weights == pytest.approx(result.energy, rel=1e-10)
    largest = np.abs(result.forces).max()
    np.testing.assert_allclose(rows.forces @ weights, result.forces.ravel(), atol=1e-9 * largest)
    np.testing.assert_allclose(rows.virial @ weights, result.virial.ravel()[UPPER], atol=1e-8 * largest)


@pytest.mark.parametrize(
    ("contraction", "channels"),
    [
        ({"kind": "alchemical", "q_max": 2}, 32),
        ({"kind": "alchemical", "weights": {"Cu": [1.0], "Au": [2.0]}}, 16),
        ({"mixed": True, "q_max": 10}, 10),
    ],
    ids=["pseudo-species", "one pseudo-species", "principal components"],
)
def test_contracted_functions(ace, alloy, contraction, channels):
    """Copper and gold in one block of coefficients; the file has all that makes the energies of the rows."""
    descriptor = {"kind": "ace", "contraction": contraction, "truncation": {"functions": 40, "order": 3}}
    fixed = {"sigma": {"default": {"energy_ev": 0.001}}, "data": {"train": str(alloy)}}
    config = FitConfig.model_validate(ace | fixed | {"descriptors": [descriptor]})
    problem = preparation.prepare(config, preparation.read(config))
    (columns,) = columns_of(problem, silent)
    assert set(columns.functions[:, 0]) == {0}
    assert columns.functions[:, 1].max() < channels
    rng, frame = np.random.default_rng(0), problem.data.train[3].frame
    weights = rng.normal(size=columns.size) / columns.smoothness()[0]
    parts, energies = columns.split(weights), dict.fromkeys(columns.species, 0.0)
    model = AceModel(columns.species, energies, columns.hypers, columns.functions, parts, **columns.mixing)
    model.save(config.output)
    result = AcePotential(AceModel.load(config.output)).compute_one(frame)
    rows = columns.rows(frame, True, True)
    assert rows.energy @ weights == pytest.approx(result.energy, rel=1e-9)
    largest = np.abs(result.forces).max()
    np.testing.assert_allclose(rows.forces @ weights, result.forces.ravel(), atol=1e-8 * largest)
    np.testing.assert_allclose(rows.virial @ weights, result.virial.ravel()[UPPER], atol=1e-8 * largest)


@pytest.mark.long
def test_pseudo_species_that_are_the_species_change_nothing(ace, alloy):
    """Two of two by given weights are copper and gold: the same fit as without."""
    found = []
    basis = {
        "n_max": 8, "l_max": 4, "cutoff": {"cutoff_angstrom": 4.5},
        "transform": {"kind": "agnesi", "r0_angstrom": 2.5},
    }  # fmt: skip
    for contraction in (None, {"kind": "alchemical", "weights": {"Cu": [1.0, 0.0], "Au": [0.0, 1.0]}}):
        rule = {"functions": 25, "order": 3, "n_max": [8], "l_max": [0, 4, 4, 4]}
        descriptor = {"kind": "ace", "basis": basis, "truncation": rule, "contraction": contraction}
        fixed = {"sigma": {"default": {"energy_ev": 0.001}}, "data": {"train": str(alloy)}}
        fit = run.fit(FitConfig.model_validate(ace | fixed | {"descriptors": [descriptor]}))
        found.append(np.array([AcePotential(fit.model).compute_one(one.frame).energy for one in fit.train]))
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)


def test_contraction_needs_the_same_lengths(ace):
    basis = {
        "n_max": 3, "l_max": 2, "cutoff": {"cutoff_angstrom": 4},
        "transform": {"kind": "agnesi", "r0_angstrom": {"Cu-Cu": 2.5}},
    }  # fmt: skip
    ace["descriptors"] = [{"kind": "ace", "contraction": {"q_max": 2}, "basis": basis}]
    with pytest.raises(pydantic.ValidationError, match="the same for all pairs of species"):
        FitConfig.model_validate(ace)


def test_lengths_of_the_defaults_are_those_of_pairs():
    """O-O and H-H are those of one molecule and of two; atoms that never meet have half of the cutoff."""
    water = Frame.from_ase(Atoms("OH2", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
    two = Frame.from_ase(Atoms("OHOH", positions=[[0, 0, 0], [0.98, 0, 0], [2.8, 0, 0], [2.8, 0.97, 0]]))
    helium = Frame.from_ase(Atoms("He", positions=[[0, 0, 0]]))
    basis = polynomial_basis(5.0, [water, two, helium], 0, (1, 2, 8))
    assert basis.transform.r0_angstrom == {
        "H-H": pytest.approx(1.794, abs=0.3), "H-He": 2.5, "H-O": pytest.approx(0.965, abs=0.01),
        "He-He": 2.5, "He-O": 2.5, "O-O": 2.8,
    }  # fmt: skip
    assert basis.cutoff.core_angstrom["H-O"] == pytest.approx(0.96, abs=0.001)
    silicon = Frame.from_ase(bulk("Si"))
    assert polynomial_basis(5.0, [silicon], 0, (14,)).transform.r0_angstrom == pytest.approx(2.351, abs=1e-3)


def test_descriptors_must_be_of_the_model(ace):
    ace["descriptors"] = [{"kind": "soap"}]
    with pytest.raises(pydantic.ValidationError, match='kind = "soap" cannot be part of model = "ace"'):
        FitConfig.model_validate(ace)
    ace["descriptors"] = [{"kind": "ace"}, {"kind": "ace"}]
    with pytest.raises(pydantic.ValidationError, match="two of kind ace"):
        FitConfig.model_validate(ace)


def test_too_many_functions_for_their_limits(ace):
    ace["descriptors"] = [{"kind": "ace", "truncation": {"functions": 90, "order": 1}}]
    with pytest.raises(InputError, match="functions = 90: there are only 16"):
        run.fit(FitConfig.model_validate(ace))


def test_summary_is_json(ace):
    fit = run.fit(FitConfig.model_validate(ace))
    descriptor = json.loads(json.dumps(fit.model.summary))["descriptors"][0]
    assert descriptor["truncation"]["functions"] == 150
    assert descriptor["basis"]["cutoff"]["cutoff_angstrom"] == 4.5
