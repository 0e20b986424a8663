"""Structures that occur more than once, and labels that too few different structures do not describe."""

import logging

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from forceserver.fit import run
from forceserver.fit.config import DataConfig, FitConfig
from forceserver.fit.copies import copies
from forceserver.fit.data import read


def alloy(seed):
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.symbols[1] = "Au"
    atoms.rattle(0.15, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces(), atoms.get_stress()
    return atoms


def test_copies_of_one_structure_are_told_and_so_is_what_they_cannot_do(content, tmp_path, caplog):
    """Energies are met to the last digit, forces not at all: there are eight different environments at most."""
    write(tmp_path / "same.extxyz", [alloy(1)] * 20)
    soap = content["descriptors"][0] | {"n_sparse": None}
    content |= {"data": {"train": str(tmp_path / "same.extxyz")}, "baseline": [], "sigma": {}, "descriptors": [soap]}
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


def test_different_structures_are_no_copies(tmp_path):
    write(tmp_path / "a.extxyz", [alloy(1), alloy(2)])
    assert copies(read(tmp_path / "a.extxyz", DataConfig(train=tmp_path / "a.extxyz"))) == []
