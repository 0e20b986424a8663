"""Labels with another sign or in other units than the rest are told; labels that agree are not."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule as molecule_of
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress
from scipy.linalg import block_diag

from forceserver.fit import run
from forceserver.fit.accumulation import accumulate
from forceserver.fit.columns import columns_of
from forceserver.fit.config import FitConfig
from forceserver.fit.contradictions import beyond_elements, contradiction
from forceserver.fit.preparation import groups_of, prepare
from forceserver.fit.preparation import read as read_data
from forceserver.fit.progress import silent
from forceserver.fit.regression import Factor
from forceserver.fit.validation import Validation

DATA = Path(__file__).parents[1] / "data" / "silicon.extxyz"


def fitted(content, train, caplog):
    settings = content | {
        "data": {"train": str(train)},
        "descriptors": content["descriptors"][:1],
        "baseline": [],
        "sigma": {},
        "cross_validation": {"energy_factors": [1.0], "force_factors": [1.0]},
    }
    settings["descriptors"][0] |= {"n_sparse": None}
    run.fit(FitConfig.model_validate(settings))
    return [record.message for record in caplog.records if "says of them" in record.message]


@pytest.mark.parametrize(
    ("quantity", "factor", "told"),
    [
        ("stress", 1, None),
        ("stress", -1, "the virials are about -0.9"),
        ("stress", 160.21766, "the virials are about 1"),
        ("forces", -1, "the forces are about -1"),
        ("energy", 1000, "the labels contradict one another"),
    ],
)
def test_a_factor_is_told(content, alloy, tmp_path, caplog, quantity, factor, told):
    structures = read(alloy, ":")
    for atoms in structures:
        results = atoms.calc.results
        labels = {"energy": results["energy"], "forces": results["forces"]}
        if "stress" in results:
            labels["stress"] = voigt_6_to_full_3x3_stress(results["stress"])
        atoms.calc = None
        for name, value in labels.items():
            place = atoms.arrays if name == "forces" else atoms.info
            place[f"REF_{name}"] = value * (factor if name == quantity else 1)
    path = tmp_path / "labels.extxyz"
    write(path, structures)
    found = fitted(content, path, caplog)
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


def test_a_molecule_beside_its_atoms_agrees(content, molecule):
    """Forces near its minimum do not say by how much it is bound."""
    content |= {"data": {"train": str(molecule)}, "descriptors": content["descriptors"][:1], "baseline": []}
    content["descriptors"][0] |= {
        "n_sparse": 15,
        "basis": content["descriptors"][0]["basis"] | {"n_max": 4, "l_max": 2},
    }
    content["sigma"].pop("Surface")
    config = FitConfig.model_validate(content)
    problem = prepare(config, read_data(config))
    columns, groups = columns_of(problem, silent), groups_of(problem.data.train, 0)
    factors = accumulate(columns, problem, groups, molecule.parent, silent)
    validation = Validation(factors, block_diag(*(column.regulariser() for column in columns)))
    factor, correlation = validation.beside_the_others("energy")
    assert factor > 4, "with the energy of binding they would not agree"
    assert correlation > 0.99
    assert contradiction(validation, partial(run._energies, columns, problem)) is None


def test_labels_of_density_functional_theory_agree(content, caplog):
    assert fitted(content, DATA, caplog) == []


@pytest.fixture
def molecule(tmp_path):
    """One molecule, rattled, and the isolated atoms of its elements, to which it is bound by more than in EMT."""
    structures = []
    for seed in range(24):
        atoms = molecule_of("CH3CH2OH")
        atoms.rattle(0.03, seed=seed)
        structures.append(atoms)
    structures += [Atoms(symbol, info={"config_type": "IsolatedAtom"}) for symbol in "CHO"]
    for atoms in structures:
        atoms.calc = EMT()
        atoms.get_forces()
        if len(atoms) == 1:
            atoms.calc.results["energy"] += 20
            atoms.calc.results["free_energy"] += 20
    write(tmp_path / "molecule.extxyz", structures)
    return tmp_path / "molecule.extxyz"


def factors(energies, forces):
    """Of so many labels, of which forces are those of energies with another sign and unit."""
    rng = np.random.default_rng(0)
    truth, found = rng.normal(size=5), {}
    for quantity, count, factor in (("energy", energies, 1.0), ("forces", forces, -160.0)):
        part = Factor(5)
        rows = 1e3 * rng.normal(size=(count, 5))
        part.add(rows, factor * rows @ truth)
        part.finish()
        found[quantity] = [part]
    return found


def test_the_factor_is_that_of_the_labels():
    found = Validation(factors(40, 40), np.eye(5)).beside_the_others("forces")
    assert found == pytest.approx((-160.0, -1.0), rel=1e-4)
    alone = {"forces": factors(40, 40)["forces"]}
    assert Validation(alone, np.eye(5)).beside_the_others("forces") is None


def test_energies_are_compared_beyond_the_elements():
    """Of 40 structures of two elements, in another unit, with predictions that miss a constant for each element."""
    rng = np.random.default_rng(0)
    counts, truth = rng.integers(1, 5, (40, 2)).astype(float), rng.normal(size=40)
    labels = 27.0 * truth + counts @ [-300.0, 80.0]
    assert beyond_elements(truth + counts @ [5.0, -1.0], labels, counts) == pytest.approx((27.0, 1.0))
    assert beyond_elements(truth[:20], labels[:20], counts[:20]) is None


@pytest.mark.parametrize("quantity", ["energy", "forces"])
def test_a_few_labels_contradict_nothing(quantity):
    """Energy and stress of a single structure met its forces with 38 times their size."""
    assert Validation(factors(10, 40), np.eye(5)).beside_the_others(quantity) is None
