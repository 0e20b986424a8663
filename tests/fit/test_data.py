"""What a fit takes from its structures."""

import logging

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from forceserver.errors import InputError
from forceserver.fit import data as labelled_data
from forceserver.fit import defaults, run
from forceserver.fit.config import DataConfig, FitConfig
from forceserver.potentials.model import ENOUGH
from forceserver.potentials.pair import PairPotential


def atom(symbol, energy=None, cell=20.0, **info) -> Atoms:
    atoms = Atoms(symbol, cell=[cell] * 3 if cell else None, pbc=bool(cell), info=info)
    if energy is not None:
        atoms.info["energy"] = energy
    return atoms


def split(tmp_path, *structures):
    write(tmp_path / "data.extxyz", structures)
    path = tmp_path / "data.extxyz"
    return labelled_data.without_isolated(labelled_data.read(path, DataConfig(train=path)), path)


@pytest.mark.parametrize("kind", ["IsolatedAtom", "isolated_atom", "Isolated atom"])
def test_isolated_atoms_are_known_by_their_kind(tmp_path, kind):
    alloy = bulk("CuAu", "rocksalt", a=5.0)
    alloy.info["energy"] = -7.0
    rest, energies = split(tmp_path, atom("Cu", -1.5, config_type=kind), alloy, atom("Au", -2.5, config_type=kind))
    assert energies == {29: -1.5, 79: -2.5}
    assert [len(one.frame) for one in rest] == [2]


def test_one_atom_is_isolated_only_without_near_images(tmp_path):
    rest, energies = split(tmp_path, atom("Cu", -1.5, cell=None), atom("Ag", -2.0), atom("Au", -3.0, cell=2.6))
    assert energies == {29: -1.5, 47: -2.0}
    assert rest[0].energy == -3.0


@pytest.mark.parametrize(("cell", "told"), [(2.75, True), (9.0, False), (None, False)])
def test_an_isolated_atom_with_near_images_is_told(tmp_path, caplog, cell, told):
    """A crystal whose primitive cell has one atom, say."""
    _, energies = split(tmp_path, atom("W", -8.9, cell=cell, config_type="IsolatedAtom"))
    assert energies == {74: -8.9}
    assert ("structure 0 is called an isolated atom, and its periodic images are 2.75" in caplog.text) == told


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        (
            [atom("Cu", 1.0, cell=None), atom("Cu", 1.1, cell=None)],
            "structure 1, .* of Cu, has 1.1 eV, .* 0 has 1.0 eV",
        ),
        ([Atoms("Cu2", positions=np.eye(3)[:2], info={"energy": 1.0, "config_type": "IsolatedAtom"})], "has 2 atoms"),
    ],
)
def test_isolated_atoms_that_make_no_sense(tmp_path, structures, message):
    with pytest.raises(InputError, match=message):
        split(tmp_path, *structures)


def test_an_isolated_atom_needs_an_energy(tmp_path):
    bare = atom("Cu", config_type="IsolatedAtom")
    bare.arrays["forces"] = np.zeros((1, 3))
    with pytest.raises(InputError, match="structure 0, an isolated atom of Cu, has no energy"):
        split(tmp_path, bare)


def test_the_energy_of_an_atom_becomes_that_of_the_model(content, tmp_path, caplog):
    structures = read(content["data"]["train"], ":")
    write(tmp_path / "with_atom.extxyz", [*structures, atom("Si", -0.815, config_type="IsolatedAtom")])
    content["data"]["train"] = str(tmp_path / "with_atom.extxyz")
    content["descriptors"] = content["descriptors"][1:]
    content["sigma"] |= {"IsolatedAtom": {"energy_ev": 1e-4}}
    with caplog.at_level(logging.INFO, "forceserver"):
        fit = run.fit(FitConfig.model_validate(content))
    assert fit.model.energies == {14: -0.815}
    assert len(fit.train) == len(structures)
    assert "e_0 of Si: -0.815 eV" in caplog.text
    content["energies_ev"] = {"Si": -0.9}
    fit = run.fit(FitConfig.model_validate(content))
    assert fit.model.energies == {14: -0.9}
    assert "energies_ev: Si = -0.9 eV is taken; its isolated atom has -0.815 eV" in caplog.text


def test_an_atom_of_a_species_without_structures_is_told(tmp_path, caplog):
    dimer = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]], info={"energy": -4.0})
    structures, isolated = split(tmp_path, dimer, atom("Si", -0.8), atom("Pt", 5.9))
    assert labelled_data.atomic_energies(structures, [0.0], {}, [14], isolated) == {14: -0.8}
    assert "no structure but isolated atoms has Pt: the model will not know it" in caplog.text
    labelled_data.atomic_energies(structures, [0.0], {"Si": -0.8, "Ge": -0.7}, [14], isolated)
    assert "energies_ev: no structure has Ge" in caplog.text


def test_what_is_no_atom_is_refused(tmp_path):
    """Ghost atoms of another program, or what i-PI's labels L and E stand for."""
    with pytest.raises(InputError, match=r"structure 1: atom 1 \(counted from 0\) is X, which is no element"):
        split(tmp_path, atom("Si", -0.8), Atoms("SiX", [[0, 0, 0], [0, 0, 2.3]], info={"energy": -4.0}))


def test_an_atom_that_is_there_twice_is_told_whatever_the_configuration(tmp_path):
    twice = bulk("Cu", cubic=True)
    twice += twice[:1]
    twice.info["energy"] = 1.0
    write(tmp_path / "data.extxyz", twice)
    config = FitConfig.model_validate({"output": tmp_path / "m.npz", "data": {"train": tmp_path / "data.extxyz"}})
    with pytest.raises(InputError, match=r"data\.extxyz: structure 0: atoms 0 and 4 .* are 0 Angstrom apart.*twice"):
        run.fit(config)


@pytest.mark.parametrize("distance", [0.4, 0.8, 1.13, 2.0])
def test_the_default_repulsion_has_tables_wherever_the_data_begin(tmp_path, distance):
    (tmp_path / "data.extxyz").touch()
    config = FitConfig.model_validate({"output": tmp_path / "m.npz", "data": {"train": tmp_path / "data.extxyz"}})
    (zbl,) = defaults.repulsion(config, [79], {(79, 79): distance})
    assert 0.99 * distance < zbl.cutoff_angstrom <= distance
    PairPotential([zbl], enough=ENOUGH)
