"""Structures that occur more than once, and labels that too few different structures do not describe."""

import logging

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from forceserver.analysis.parity import ParityTable
from forceserver.fit import run
from forceserver.fit.config import DataConfig, FitConfig
from forceserver.fit.copies import copies, known_to_training, references
from forceserver.fit.data import Labelled, read
from forceserver.fit.misfit import misfits
from forceserver.fit.regression import Factor
from forceserver.fit.report import outliers
from forceserver.frame import Frame, Result


def alloy(seed):
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.symbols[1] = "Au"
    atoms.rattle(0.15, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces(), atoms.get_stress()
    return atoms


@pytest.mark.parametrize("sigma", [{}, {"default": {"energy_ev": 0.003, "force_ev_per_angstrom": 0.1}}])
def test_copies_of_one_structure_are_told_and_so_is_what_they_cannot_do(content, tmp_path, caplog, sigma):
    """Energies are met to the last digit, forces not at all: there are eight different environments at most."""
    write(tmp_path / "same.extxyz", [alloy(1)] * 20)
    soap = content["descriptors"][0] | {"n_sparse": None}
    content |= {"data": {"train": str(tmp_path / "same.extxyz")}, "baseline": [], "sigma": sigma, "descriptors": [soap]}
    soap["basis"] |= {"n_max": 4, "l_max": 2}
    with caplog.at_level(logging.WARNING):
        run.fit(FitConfig.model_validate(content))
    said = [record.message for record in caplog.records]
    assert any("19 of 20 structures are copies of others (structure 1 of structure 0)" in line for line in said)
    assert any("% of the forces of the training structures" in line and "4 weights" in line for line in said)
    assert not any("contradict" in line for line in said)


@pytest.mark.parametrize(("difference", "told"), [(0.0, 1), (0.2, 2)])
def test_copies_with_other_energies(tmp_path, difference, told):
    structures = [alloy(1), alloy(2), alloy(2), alloy(3)]
    structures[2].calc.results["energy"] += difference
    structures[2].calc.results["free_energy"] += difference
    write(tmp_path / "a.extxyz", structures)
    said = copies(read(tmp_path / "a.extxyz", DataConfig(train=tmp_path / "a.extxyz")))
    assert len(said) == told
    assert said[0].startswith("1 of 4 structures are copies of others (structure 2 of structure 1)")
    assert difference == 0.0 or "structure 1 and its copies have energies that differ by 50 meV/atom" in said[1]


@pytest.mark.parametrize(("difference", "told"), [(1e-4, 1), (0.3, 2)])
def test_copies_with_other_forces(tmp_path, difference, told):
    structures = [alloy(1), alloy(2), alloy(2), alloy(3)]
    structures[2].calc.results["forces"][1, 2] += difference
    write(tmp_path / "a.extxyz", structures)
    said = copies(read(tmp_path / "a.extxyz", DataConfig(train=tmp_path / "a.extxyz")))
    assert len(said) == told
    assert told == 1 or "structure 1 and its copies have forces that differ by 0.3 eV/Angstrom" in said[1]


def test_a_test_set_with_training_structures_is_told(tmp_path):
    train, test = tmp_path / "train.extxyz", tmp_path / "test.extxyz"
    write(train, [alloy(1), alloy(2), alloy(3)])
    write(test, [alloy(4), alloy(2)])
    config = DataConfig(train=train)
    (said,) = known_to_training(read(train, config), read(test, config))
    assert said.startswith("1 of 2 test structures are training structures, too")
    assert known_to_training(read(train, config)[:1], read(test, config)) == []


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("charge", [0, 0, 0], None),
        ("charge", [1, 1, 1.0], None),
        ("charge", [None, -1, 1.0], "total charges of 0, -1, +1"),
        ("head", ["pbe", "pbe", "pbe"], None),
        ("head", ["pbe", "r2scan", None], "heads of pbe, r2scan, none"),
    ],
)
def test_several_charges_and_levels_of_theory_are_told(tmp_path, caplog, name, values, told):
    """A model would fit the mean of two systems."""
    structures = [alloy(seed) for seed in range(3)]
    for atoms, value in zip(structures, values, strict=True):
        if value is not None:
            atoms.info[name] = value
    write(tmp_path / "a.extxyz", structures)
    read(tmp_path / "a.extxyz", DataConfig(train=tmp_path / "a.extxyz"))
    assert (f"there are {told}: a model knows atoms only" in caplog.text) if told else ("there are" not in caplog.text)


def labelled(number, energy=None, forces=None):
    frame = Frame(np.eye(2, 3), np.zeros((3, 3)), np.array([29, 29]), np.zeros(3, bool))
    return Labelled(frame, "(none)", energy, forces, None, number=number)


def test_the_structure_that_makes_the_error_is_named():
    rng = np.random.default_rng(1)
    data = [labelled(k, energy=float(rng.normal(0, 1e-3)), forces=rng.normal(0, 0.01, (2, 3))) for k in range(10)]
    table, predicted = ParityTable(), Result(0.0, np.zeros((2, 3)), np.zeros((3, 3)))
    data[3] = labelled(3, forces=data[3].forces)
    data[7] = labelled(7, energy=2.0, forces=data[7].forces)
    for one in data:
        table.compare(None, one, predicted, one.frame)
    (told,) = outliers(table, data)
    assert told.startswith("structure 7: energy per atom off by 1e+03 meV (the median is 0.")
    assert outliers(table, data[:5]) == []


@pytest.mark.parametrize(
    ("left", "told"), [(0.5, "cannot follow 2 labels"), (30.0, "they contradict the other labels")]
)
def test_what_a_model_leaves_is_of_one_of_two_kinds(left, told):
    """One weight, of a label of 100 and one of nothing; the residual is (100 - 100, 100 left)."""
    factor = Factor(1)
    factor.add(np.array([[100.0], [100.0 * left]]), np.array([100.0, 0.0]))
    factor.finish()
    (said,) = misfits({"energy": [factor]}, np.ones(1))
    assert f"leaves {left:.0%} of the energies" in said
    assert told in said


@pytest.mark.parametrize(("offset", "told"), [(0.0, False), (-180_000.0, True)])
def test_energies_of_two_references_are_told(offset, told):
    """Total energies of an all-electron code beside cohesive ones; isolated atoms and other compositions may differ."""
    data = [labelled(0, energy=-7.0), labelled(1, energy=-6.0 + offset), labelled(2)]
    copper_gold = Frame(np.eye(2, 3), np.zeros((3, 3)), np.array([29, 79]), np.zeros(3, bool))
    data.append(Labelled(copper_gold, "(none)", -500_000.0, None, None, number=3))
    said = references(data)
    assert len(said) == told
    assert not told or said[0].startswith("structure 1 has -90003 eV/atom, structure 0 of the same composition -3.5:")


def test_different_structures_are_no_copies(tmp_path):
    write(tmp_path / "a.extxyz", [alloy(1), alloy(2)])
    assert copies(read(tmp_path / "a.extxyz", DataConfig(train=tmp_path / "a.extxyz"))) == []
