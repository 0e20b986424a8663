"""Labels of data sets as MACE, QUIP, NequIP, VASP through ASE, and others write them."""

import logging

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from hypothesis import given, settings
from hypothesis import strategies as st

from forceserver.errors import InputError
from forceserver.fit.labels import LabelKeys, LabelReader
from forceserver.structures import read_structures

FORCES = np.array([[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]])
STRESS = np.array([[0.01, 0.001, 0.002], [0.001, 0.02, 0.003], [0.002, 0.003, 0.03]])
VOIGT = STRESS[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def salt(info=(), columns=(), results=()) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.info.update(info)
    atoms.arrays.update(columns)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **dict(results))
    return atoms


VIRIAL = -STRESS * salt().get_volume()


def labels_of(tmp_path, *structures, **keys):
    """What is read after a round through a file, and the reader."""
    write(tmp_path / "data.extxyz", structures)
    reader = LabelReader(LabelKeys(**keys))
    found = [reader.read(a, f"structure {n}") for n, a in enumerate(read_structures(tmp_path / "data.extxyz"))]
    return found, reader


@pytest.mark.parametrize(
    "atoms",
    [
        salt({"REF_energy": -7.5, "REF_stress": STRESS.ravel()}, {"REF_forces": FORCES}),
        salt({"REF_energy": -7.5, "REF_stress": VOIGT}, {"REF_forces": FORCES}),
        salt({"REF_energy": -7.5, "REF_virials": VIRIAL}, {"REF_forces": FORCES}),
        salt({"energy": -7.5, "virial": VIRIAL}, {"force": FORCES}),
        salt({"dft_energy": -7.5, "dft_virial": VIRIAL.ravel()}, {"dft_force": FORCES}),
        salt({"QM_energy": -7.5, "QM_virial": VIRIAL}, {"QM_forces": FORCES}),
        salt({"total_energy": -7.5, "stress": STRESS}, {"forces": FORCES}),
        salt(results={"energy": -7.5, "forces": FORCES, "stress": VOIGT}),
        salt(results={"free_energy": -7.5, "forces": FORCES, "stress": VOIGT}),
        salt(results={"free_energy": -7.5, "energy": -7.500001, "forces": FORCES, "stress": VOIGT}),
        salt({"virial": VIRIAL}, results={"energy": -7.5, "forces": FORCES, "stress": VOIGT}),
    ],
)
def test_usual_names(tmp_path, atoms):
    (labels,), _ = labels_of(tmp_path, atoms)
    assert labels.energy == pytest.approx(-7.5, abs=1e-5)
    np.testing.assert_allclose(labels.forces, FORCES, atol=1e-8)
    np.testing.assert_allclose(labels.virial, VIRIAL, atol=1e-6)


def test_names_and_numbers_are_told(tmp_path, caplog):
    one = salt({"REF_energy": -1.0, "REF_stress": VOIGT}, {"REF_forces": FORCES})
    two = salt({"REF_energy": -1.0}, {"REF_forces": FORCES})
    with caplog.at_level(logging.INFO, "forceserver"):
        labels_of(tmp_path, one, two, two)[1].finish(tmp_path / "data.extxyz")
    assert (
        "data.extxyz: 3 structures with 3 energies (REF_energy), 3 forces (REF_forces), 0 virials, "
        "1 stresses (REF_stress)" in caplog.text
    )


@pytest.mark.parametrize("results", [{}, {"stress": VOIGT}])
def test_names_are_told_where_nothing_is_found(tmp_path, caplog, results):
    with caplog.at_level(logging.INFO, "forceserver"):
        labels_of(tmp_path, salt({"energy_per_atom": -1.0}, results=results))[1].finish(tmp_path / "data.extxyz")
    assert "1 structures with 0 energies, 0 forces, 0 virials" in caplog.text
    assert f"; there are {', '.join(['energy_per_atom', *results])}" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("energy", -7.6, True),
        ("energy", -7.5, False),
        ("forces", FORCES + 0.1, True),
        ("stress", STRESS, False),
        ("stress", 2 * STRESS, True),
        ("energies", [1.0, 2.0], False),
    ],
)
def test_one_name_in_two_places(name, value, refused):
    """A trajectory has results of a calculator, and may have `info` of the same name."""
    atoms = salt({name: value}, results={"energy": -7.5, "forces": FORCES, "stress": VOIGT, "energies": [-3.0, -4.5]})
    reader = LabelReader()
    if not refused:
        assert reader.read(atoms, "it").energy == -7.5
        return
    with pytest.raises(InputError, match=f"it has two labels called '{name}' that differ"):
        reader.read(atoms, "it")
    assert LabelReader(LabelKeys(**{name: "none"})).read(atoms, "it") is not None


def test_no_forces_and_no_energies_are_told(tmp_path, caplog):
    labels_of(tmp_path, salt({"energy": -1.0}, {"my_forces": FORCES}))[1].finish(tmp_path / "data.extxyz")
    assert "there are no forces among the labels energy, my_forces" in caplog.text
    labels_of(tmp_path, salt({"E": -1.0}, {"forces": FORCES}))[1].finish(tmp_path / "data.extxyz")
    assert "there are no energies among the labels E, forces" in caplog.text


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        (
            [salt(results={"energy": -7.5, "free_energy": -7.6})],
            "two labels for its energy that differ: 'energy' -7.5, 'free_energy' -7.6; say which is meant with "
            "energy_key; forces are those of the free energy",
        ),
        ([salt({"energy": 0.0}, {"forces": FORCES, "REF_forces": 2 * FORCES})], "'forces' .*'REF_forces'"),
        ([salt({"REF_energy": 1.0}), salt({"energy": 1.0})], "structure 1 has its energy as energy, .* REF_energy"),
        ([salt({"virial": -VIRIAL, "stress": STRESS})], "a virial and a stress that differ"),
        ([salt({"energy": np.nan})], "the label 'energy' is not finite"),
        ([salt({"energy": 1.0}, {"force": FORCES * np.inf})], "the label 'force' is not finite"),
        ([salt({"energy": "unknown"})], "the label 'energy' is not numbers"),
        ([salt({"energy": True})], "the label 'energy' is not numbers"),
        ([salt({"energy": [1.0, 2.0]})], r"the label 'energy' has the shape \(2,\), must be one number"),
        ([salt({"energy": 1.0}, {"force": FORCES[:, :2]})], r"'force' has the shape \(2, 2\), must be \(2, 3\)"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path, structures, message):
    with pytest.raises(InputError, match=message):
        labels_of(tmp_path, *structures)


def test_an_energy_per_atom_is_refused(tmp_path):
    structures = [salt({"dft_formation_energy_per_atom_in_eV": -4.2})]
    with pytest.raises(InputError, match=r"called an energy per atom; .* multiply it by the number of atoms"):
        labels_of(tmp_path, *structures, energy="dft_formation_energy_per_atom_in_eV")


def test_the_energy_in_a_comment_of_cp2k_is_in_hartree(tmp_path):
    (tmp_path / "pos-1.xyz").write_text("1\n i =       10, time =        5.000, E =        -1.1644\nH 0 0 0\n")
    (atoms,) = read_structures(tmp_path / "pos-1.xyz")
    with pytest.raises(InputError, match="an energy of CP2K, in Hartree: convert it"):
        LabelReader(LabelKeys(energy="E")).read(atoms, "a.xyz")


def test_one_name_for_all_also_where_some_have_two(tmp_path):
    both, one = salt({"energy": -1.0, "REF_energy": -1.0}), salt({"REF_energy": -2.0})
    found, _ = labels_of(tmp_path, both, one)
    assert [labels.energy for labels in found] == [-1.0, -2.0]
    with pytest.raises(InputError, match="structure 2 has its energy as energy"):
        labels_of(tmp_path, both, one, salt({"energy": -3.0}))


def test_a_name_that_was_given_decides(tmp_path):
    atoms = salt({"energy": -1.0, "REF_energy": -2.0, "virial": -VIRIAL, "stress": STRESS}, {"F": FORCES})
    (labels,), reader = labels_of(tmp_path, atoms, energy="REF_energy", forces="F", stress="stress")
    assert labels.energy == -2.0
    np.testing.assert_allclose(labels.virial, VIRIAL)
    np.testing.assert_allclose(labels.forces, FORCES)
    reader.check_given(tmp_path / "data.extxyz")
    (labels,), _ = labels_of(tmp_path, atoms, energy="energy", virial="none", forces="none")
    np.testing.assert_allclose(labels.virial, VIRIAL)
    assert labels.forces is None
    (labels,), _ = labels_of(tmp_path, atoms, energy="energy", virial="none", stress="none")
    assert labels.virial is None


@pytest.mark.parametrize("quantity", ["energy", "forces", "virial", "stress", "group"])
def test_a_name_that_no_structure_has_is_an_error(tmp_path, quantity):
    bare, labelled = salt({"energy": -1.0, "kind": "a"}), salt({"energy": -1.0, "dft": -1.0})
    _, reader = labels_of(tmp_path, bare, bare, **{quantity: "dft"}, option="data.{}_key")
    with pytest.raises(InputError, match=rf"no structure has 'dft' \(data.{quantity}_key\); there are energy, kind"):
        reader.check_given(tmp_path / "data.extxyz")
    write(tmp_path / "data.extxyz", [bare, labelled])
    reader.check_given(tmp_path / "data.extxyz")


def test_a_stress_without_volume(tmp_path):
    molecule = Atoms("OH", positions=[[0, 0, 0], [0, 0, 1]], info={"energy": -1.0, "stress": np.zeros((3, 3))})
    (labels,), _ = labels_of(tmp_path, molecule)
    assert labels.virial is None
    with pytest.raises(InputError, match="has a stress but no volume"):
        labels_of(tmp_path, molecule, stress="stress")


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12))
def test_other_names_are_not_taken(name):
    """Of any name: it is a label only if it is one of the usual ones behind one of the usual prefixes."""
    from forceserver.fit.labels import PREFIXES, USUAL

    usual = {prefix + known for prefix in PREFIXES for known in USUAL["energy"]}
    atoms = salt({name: -1.0, f"predicted_{name}": -2.0, "mace_energy": -3.0})
    labels = LabelReader(LabelKeys(forces="none", virial="none", stress="none")).read(atoms, "it")
    assert (labels.energy == -1.0) == (name.lower() in usual)
    assert labels.energy in (-1.0, None)


def test_vasp_through_ase(tmp_path):
    """A trajectory of ASE with the results of VASP's reader: energy, free energy, forces, stress, magnetic moments."""
    results = {"energy": -7.49, "free_energy": -7.5, "forces": FORCES, "stress": VOIGT, "magmom": 0.0}
    write(tmp_path / "a.traj", salt(results=results | {"magmoms": np.ones(2)}))
    reader = LabelReader(LabelKeys(energy="free_energy"))
    labels = reader.read(read(tmp_path / "a.traj"), "it")
    assert labels.energy == -7.5
    np.testing.assert_allclose(labels.virial, VIRIAL)


@pytest.mark.parametrize("atoms", [1, 2, 3, 4])
def test_forces_are_those_of_the_file_for_any_number_of_atoms(atoms, tmp_path):
    """Those of three atoms have the shape of a virial, and were made symmetric: no model could be fitted to water."""
    structure = Atoms(f"H{atoms}", positions=np.arange(3.0 * atoms).reshape(-1, 3))
    forces = np.random.default_rng(atoms).normal(size=(atoms, 3))
    structure.arrays["REF_forces"] = forces
    structure.info["REF_energy"] = -1.0
    write(tmp_path / "a.xyz", structure, format="extxyz")
    labels = LabelReader(LabelKeys()).read(read(tmp_path / "a.xyz"), "a.xyz")
    np.testing.assert_allclose(labels.forces, forces, atol=1e-7)


def test_a_transposed_label_is_no_label():
    structure = Atoms("H4", positions=np.arange(12.0).reshape(-1, 3), info={"forces": np.zeros((3, 4))})
    with pytest.raises(InputError, match=r"the label 'forces' has the shape \(3, 4\), must be \(4, 3\)"):
        LabelReader(LabelKeys()).read(structure, "a.xyz")


def test_a_virial_of_which_half_is_missing_is_refused():
    """Making it symmetric would have halved what is there."""
    atoms = salt({"virial": np.triu(VIRIAL)})
    with pytest.raises(
        InputError, match=r"'virial' is not symmetric: .* nine components, or six in the order xx yy zz yz"
    ):
        LabelReader(LabelKeys()).read(atoms, "a.xyz")
    rounded = salt({"virial": VIRIAL + np.triu(np.full((3, 3), 1e-4))})
    np.testing.assert_allclose(LabelReader(LabelKeys()).read(rounded, "a.xyz").virial, VIRIAL, atol=2e-4)


@pytest.mark.parametrize(
    ("weights", "has"),
    [
        ({"config_energy_weight": 0.0}, (False, True, True)),
        ({"config_forces_weight": 0.0, "config_energy_weight": 1.0}, (True, False, True)),
        ({"config_stress_weight": 0, "config_virials_weight": 1}, (True, True, False)),
        ({"config_weight": 0.0}, (False, False, False)),
        ({"config_weight": 2.0}, (True, True, True)),
    ],
)
def test_labels_without_weight_are_none(weights, has):
    """MACE's convention for structures that lack one: the numbers are only there to fill the place."""
    atoms = salt({"REF_energy": 0.0, "REF_stress": STRESS, **weights}, {"REF_forces": FORCES})
    labels = LabelReader(LabelKeys()).read(atoms, "a.xyz")
    assert (labels.energy is not None, labels.forces is not None, labels.virial is not None) == has


@pytest.mark.parametrize(
    ("info", "columns", "told"),
    [
        ({"energy_sigma": 0.1}, {}, "energy_sigma"),
        ({"config_weight": 3.0}, {}, "config_weight"),
        ({}, {"force_mask": np.array([0, 1])}, "force_mask"),
        ({"config_weight": 1.0, "config_stress_weight": 0.0}, {"move_mask": np.array([0, 1])}, None),
    ],
)
def test_weights_that_are_not_used_are_told(tmp_path, caplog, info, columns, told):
    reader = LabelReader(LabelKeys())
    reader.read(salt({"energy": 1.0, **info}, {"forces": FORCES, **columns}), "a.xyz")
    reader.finish(tmp_path / "a.xyz")
    assert (f"a.xyz: {told}: not used" in caplog.text) if told else ("not used" not in caplog.text)


@pytest.mark.parametrize("units", ["Hartree", "Ha/Bohr", "kcal/mol", "atomic", "a.u.", "eV/atom"])
def test_units_that_a_file_names_are_not_ignored(units):
    with pytest.raises(InputError, match=r"a.xyz says energy_unit = .*: labels are in eV and Angstrom"):
        LabelReader(LabelKeys()).read(salt({"energy": 1.0, "energy_unit": units}), "a.xyz")
    for fine in ({"energy_unit": "eV"}, {"units": "eV/Ang"}, {"unit_cell": "conventional"}):
        LabelReader(LabelKeys()).read(salt({"energy": 1.0, **fine}), "a.xyz")


@pytest.mark.parametrize(
    ("forces", "virial", "told"),
    [
        ([[0, 0, 0], [0.4, -0.2, 0.3]], VIRIAL, "some forces are exactly zero"),
        ([[0.1, 0.2, 0], [-0.1, -0.2, 0.3]], VIRIAL, "some forces are exactly zero"),
        (FORCES, 0 * VIRIAL, "the stress or virial is exactly zero"),
        (FORCES, VIRIAL, None),
        ([[0, 0.1, 0], [0, -0.1, 0]], VIRIAL, None),
        ([[0, 0.1, 0], [0, -0.06, 0]], VIRIAL, None),
        ([[0, 0, 0], [0, 0, 0]], 0 * VIRIAL, None),
    ],
)
def test_zeros_that_a_constraint_or_a_placeholder_made_are_told(tmp_path, caplog, forces, virial, told):
    """Forces of fixed atoms are zero after `get_forces()`, and a fit would learn that; true forces add up to zero."""
    reader = LabelReader(LabelKeys())
    for _ in range(2):
        reader.read(salt({"energy": 1.0, "virial": virial}, {"forces": np.array(forces, float)}), "a.xyz")
    reader.finish(tmp_path / "a.xyz")
    assert (f"a.xyz: in 2 structures {told}" in caplog.text) if told else ("exactly zero" not in caplog.text)


@pytest.mark.parametrize(
    ("info", "told"), [({"pressure": 50.0, "times_found": 3}, 1), ({"pressure": 0.0, "times_found": 3}, 0), ({}, 0)]
)
def test_enthalpies_of_airss_are_told(tmp_path, caplog, info, told):
    reader = LabelReader(LabelKeys())
    reader.read(salt({"energy": 1.0, **info}), "a.xyz")
    reader.finish(tmp_path / "a.xyz")
    assert caplog.text.count("in 1 structures there is a pressure beside the energy") == told
