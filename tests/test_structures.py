"""Reading structures: the format decides, periodicity and units are those of the file, labels are those of i-PI."""

import gzip

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_masses
from ase.units import Bohr

from forceserver.elements import find_element, own_mass
from forceserver.errors import InputError
from forceserver.structures import read_structure, read_structures

TRICLINIC = np.array([[7.0, 0.0, 0.0], [0.5, 6.9, 0.0], [0.2, -0.3, 8.1]])
WATER = np.array([[0.1, 0.2, 0.3], [1.02, -0.33, 0.4], [-0.6, 0.55, 0.85]])


def ipi_file(path, units, labels=("O", "D", "H"), frames=1):
    """Written by i-PI itself, in the format of the suffix."""
    from ipi.engine.atoms import Atoms as IpiAtoms
    from ipi.engine.cell import Cell
    from ipi.utils.io import print_file

    with open(path, "w") as file:
        for k in range(frames):
            atoms, cell = IpiAtoms(3), Cell(TRICLINIC.T / Bohr)
            atoms.q[:], atoms.names[:] = ((WATER + 0.01 * k) / Bohr).ravel(), labels
            title = f"Step: {k}  Bead: 0 "
            how = {"title": title, "key": "positions", "units": units, "cell_units": units}
            print_file(path.suffix[1:], atoms, cell, file, **how)
    return path


@pytest.mark.parametrize(
    ("suffix", "units"),
    [
        *(("xyz", units) for units in ("angstrom", "atomic_unit", "automatic", "nanometer")),
        *(("pdb", units) for units in ("angstrom", "atomic_unit", "automatic")),
    ],
)
def test_what_ipi_writes(tmp_path, units, suffix):
    read = list(read_structures(ipi_file(tmp_path / f"a.{suffix}", units, frames=3)))
    assert len(read) == 3
    for k, atoms in enumerate(read):
        assert atoms.get_chemical_formula() == "H2O"
        assert atoms.pbc.all()
        precision = 1e-5 if suffix == "xyz" else 2e-3
        np.testing.assert_allclose(atoms.positions, WATER + 0.01 * k, atol=precision)
        np.testing.assert_allclose(atoms.cell.array, TRICLINIC, atol=10 * precision)
        np.testing.assert_allclose(atoms.get_masses(), [15.999, 2.0141, 1.008])
    assert read_structure(tmp_path / f"a.{suffix}").positions[0, 0] == pytest.approx(0.12, abs=1e-3)


def test_angstrom_are_not_converted_twice(tmp_path):
    """i-PI's Angstrom differs from that of ASE by 7e-8; a number in Angstrom stays what it is."""
    (tmp_path / "a.xyz").write_text(
        "1\n# CELL(abcABC): 900 900 900 90 90 90 positions{angstrom} cell{angstrom}\nO 800.5 0 0\n"
    )
    assert read_structure(tmp_path / "a.xyz").positions[0, 0] == 800.5


@pytest.mark.parametrize(
    "comment",
    [
        'Lattice="7 0 0 0 7 0 0 0 7" Properties=species:S:1:pos:R:3 note="# CELL(abcABC): 7 7 7 90 90 90"',
        "#=T CELL(abcABC):=T 7.0=T 7.0=T 7.0=T 90.0=T positions{atomic_unit}=T cell{atomic_unit}=T "
        'Lattice="7 0 0 0 7 0 0 0 7" Properties=species:S:1:pos:R:3 pbc="T T T"',
        'Lattice="7 0 0 0 7 0 0 0 7" ipi_comment="GENH CELL{H}: positions{atomic_unit}"',
        'Properties=species:S:1:pos:R:3 Lattice="7 0 0 0 7 0 0 0 7" method="GENH"',
    ],
)
def test_extended_xyz_stays_extended_xyz(tmp_path, comment):
    """Also when a word of i-PI stands in its comment, as in i-PI's trajectories that ASE has converted."""
    (tmp_path / "a.xyz").write_text(f"2\n{comment}\nAl 1.0 2.0 3.0\nAl 3 3 3\n")
    atoms = read_structure(tmp_path / "a.xyz")
    np.testing.assert_array_equal(atoms.positions[0], [1, 2, 3])
    np.testing.assert_array_equal(atoms.cell.lengths(), [7, 7, 7])


def test_trajectory_of_ipi_through_ase_and_back(tmp_path):
    ipi_file(tmp_path / "ipi.xyz", "angstrom", labels=("O", "H", "H"))
    ase.io.write(tmp_path / "ase.xyz", ase.io.read(tmp_path / "ipi.xyz"), format="extxyz")
    assert "CELL(abcABC)" in (tmp_path / "ase.xyz").read_text()
    np.testing.assert_allclose(read_structure(tmp_path / "ase.xyz").positions, WATER, atol=1e-5)


@pytest.mark.parametrize("comment", ["CELL(abcABC): 7 7 7 90 90 90 Traj: positions{angstrom} cell{angstrom}", "plain"])
def test_plain_xyz_and_ipi_without_hash(tmp_path, comment):
    (tmp_path / "a.xyz").write_text(f"1\n{comment}\nAl 1 2 3\n")
    atoms = read_structure(tmp_path / "a.xyz")
    np.testing.assert_allclose(atoms.positions, [[1, 2, 3]])
    assert atoms.pbc.all() == (comment != "plain")


def test_ipi_without_units_is_in_bohr_and_without_cell_is_not_periodic(tmp_path, caplog):
    (tmp_path / "a.xyz").write_text("1\n# CELL(abcABC): 7 7 7 90 90 90\nAl 1 2 3\n")
    atoms = read_structure(tmp_path / "a.xyz")
    assert "a.xyz names no unit of its positions and cell: atomic units" in caplog.text
    np.testing.assert_allclose(atoms.positions, [np.array([1, 2, 3]) * Bohr])
    np.testing.assert_allclose(atoms.cell.lengths(), 7 * Bohr)
    (tmp_path / "b.xyz").write_text("1\n# positions{atomic_unit}\nAl 1 2 3\n")
    atoms = read_structure(tmp_path / "b.xyz")
    np.testing.assert_allclose(atoms.positions, [np.array([1, 2, 3]) * Bohr])
    assert not atoms.pbc.any()
    assert atoms.cell.rank == 0


@pytest.mark.parametrize("key", ["forces", "velocities", "f_centroid", "momenta"])
def test_a_trajectory_of_something_else_is_no_structure(tmp_path, key):
    path = tmp_path / "a.xyz"
    path.write_text(f"1\n# CELL(abcABC): 7 7 7 90 90 90 Step: 0 {key}{{atomic_unit}} cell{{atomic_unit}}\nAl 1 2 3\n")
    with pytest.raises(InputError, match="holds no positions"):
        read_structure(path)


@pytest.mark.parametrize("name", ["a.extxyz", "a.traj", "a.json", "a.xyz.gz", "a file@1.xyz"])
@pytest.mark.parametrize("pbc", [False, True, (True, True, False)])
def test_what_a_file_says_of_periodicity_holds(tmp_path, name, pbc):
    Atoms("Al2", positions=[[0, 0, 0], [2.5, 0, 0]], cell=[4, 4, 4], pbc=pbc).write(tmp_path / name)
    np.testing.assert_array_equal(read_structure(tmp_path / name).pbc, np.broadcast_to(pbc, 3))
    (atoms,) = read_structures(tmp_path / name)
    np.testing.assert_array_equal(atoms.pbc, np.broadcast_to(pbc, 3))


def test_forces_of_cp2k_are_no_structure(tmp_path):
    path = tmp_path / "water-frc-1.xyz"
    lines = ["O 0.0123 -0.0201 0.0007", "H -0.0110 0.0150 0.0001", "H -0.0013 0.0051 -0.0008"]
    path.write_text("\n".join(["3", " i = 0, time = 0.000, E = -17.16", *lines, ""]))
    with pytest.raises(InputError, match=r"all its 3 atoms within 0.0422 Angstrom: are its positions forces"):
        list(read_structures(path))


@pytest.mark.parametrize("empty", ["name=", 'name=""', "name=''"])
def test_an_empty_text_takes_nothing_along(tmp_path, empty):
    """ASE writes `name= energy=-1.0`, and reads the energy as the name."""
    path = tmp_path / "empty.extxyz"
    path.write_text(
        f'1\n{empty} Lattice="4 0 0 0 4 0 0 0 4" a=b=c {empty} energy=-1.0 note={empty[5:]} pbc="F F F"\nAl 0 0 0\n'
    )
    (atoms,) = read_structures(path)
    assert atoms.cell.volume == pytest.approx(64)
    assert not atoms.pbc.any()
    assert atoms.get_potential_energy() == -1
    assert atoms.info == {"a": "b=c"}


@pytest.mark.parametrize(("name", "kind"), [("a.con", "eon"), ("a.sys", "sys")])
def test_a_cell_of_a_program_that_knows_no_other_is_periodic(tmp_path, name, kind):
    Atoms("Al2", positions=[[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True).write(tmp_path / name, format=kind)
    assert read_structure(tmp_path / name).pbc.all()


def test_units_of_input_data_are_told(tmp_path, caplog):
    """RuNNer has Bohr and Hartree; n2p2 reads such files in any units."""
    atoms = Atoms("Al2", positions=[[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True)
    atoms.write(tmp_path / "input.data", format="runnerdata")
    np.testing.assert_allclose(read_structure(tmp_path / "input.data").positions, atoms.positions, atol=1e-6)
    assert "input.data is read in Bohr and Hartree" in caplog.text


def test_a_cell_without_a_word_is_periodic(tmp_path):
    (tmp_path / "a.xyz").write_text('1\nLattice="4 0 0 0 4 0 0 0 4"\nAl 0 0 0\n')
    assert read_structure(tmp_path / "a.xyz").pbc.all()


def test_every_label_of_ipi_has_an_element():
    from ipi.utils.units import Elements

    for label, mass in Elements.mass_list.items():
        number = find_element(label)
        assert number is not None, label
        if number and label not in ("D", "Z", "T", "H2"):
            assert atomic_masses[number] == pytest.approx(mass, rel=0.17), label  # isotopes; the heaviest are guesses
    assert [find_element(label) for label in ("D", "T", "Z", "H2", "C13", "O18", "Cl37", "L", "E", "Li6")] == [
        1, 1, 1, 1, 6, 8, 17, 0, 0, 3
    ]  # fmt: skip
    assert own_mass("D") == 2.0141
    assert own_mass("H") is own_mass("Li6") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.xyz", "3\n\nC13 0 0 0\nD 0 0 1\nH 1 0 0\n"),
        ("a.xyz", "3\nProperties=id:I:1:pos:R:3:species:S:1 pbc=F\n1 0 0 0 C13\n2 0 0 1 D\n3 1 0 0 H\n"),
        (
            "a.xyz",
            "3\n# CELL{abcABC}: 9 9 9 90 90 90 positions{angstrom} cell{angstrom}\nC13 0 0 0\nD 0 0 1\nH 1 0 0\n",
        ),
        ("a.xyz.gz", "3\n\nC13 0 0 0\nD 0 0 1\nH 1 0 0\n"),
    ],
)
def test_labels_of_ipi_in_any_xyz(tmp_path, name, text):
    with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wt") as file:
        file.write(text)
    atoms = read_structure(tmp_path / name)
    assert list(atoms.numbers) == [6, 1, 1]
    np.testing.assert_allclose(atoms.get_masses(), [13.00335, 2.0141, 1.008])
    np.testing.assert_allclose(atoms.positions, [[0, 0, 0], [0, 0, 1], [1, 0, 0]])


def test_label_of_deuterium_in_the_column_of_a_pdb(tmp_path):
    Atoms("OHH", positions=WATER + 3, cell=[9, 9, 9], pbc=True).write(tmp_path / "a.pdb")
    text = (tmp_path / "a.pdb").read_text().splitlines()
    text[3] = text[3][:76] + " D" + text[3][78:]
    (tmp_path / "a.pdb").write_text("\n".join(text) + "\n")
    atoms = read_structure(tmp_path / "a.pdb")
    assert list(atoms.symbols) == ["O", "H", "H"]
    np.testing.assert_allclose(atoms.get_masses(), [15.999, 2.0141, 1.008])


@pytest.mark.parametrize(
    "text", ["2\n\nAl 0 0 0\nSj 0 0 1\n", "2\n# CELL(abcABC): 9 9 9 90 90 90\nAl 0 0 0\nSj 0 0 1\n"]
)
def test_unknown_labels_are_named(tmp_path, text):
    (tmp_path / "a.xyz").write_text("1\n\nAl 0 0 0\n" + text)
    with pytest.raises(InputError, match=r"a.xyz: structure 1 has an atom 1 called 'Sj', which is neither"):
        list(read_structures(tmp_path / "a.xyz"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("2\n\nAl 0 0 0\n", "structure 0 cannot be read"),
        ("2\n# CELL(abcABC): 9 9 9 90 90 90\nAl 0 0 0\n", "structure 0 cannot be read: .* announced"),
        ("0\n\n", "structure 0 has no atoms"),
        ("1\n\nAl nan 0 0\n", "not finite"),
        ('1\nLattice="4 0 0 0 4 0 0 4 0"\nAl 0 0 0\n', "has a singular cell"),
        ('1\npbc="T F F"\nAl 0 0 0\n', "periodic along a but has no cell vector"),
        ("-1\n\nAl 0 0 0\n", "begins with '-1', must begin with its number of atoms"),
        ("1\nenergy=-1.5 name='a b' energy=-2.5\nAl 0 0 0\n", "has energy=-1.5 and energy=-2.5 in its comment"),
        (
            "1\nProperties=species:S:1:pos:R:3:forces:R:3\nAl 0 0 0 0.5 1 2 3\n",
            "has 8 columns in the .* atom 0, .* are 7",
        ),
    ],
)
def test_bad_structures(tmp_path, text, message):
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(InputError, match=message):
        list(read_structures(tmp_path / "a.xyz"))
    with pytest.raises(InputError, match=message.replace("structure 0 ", "")):
        read_structure(tmp_path / "a.xyz")


@pytest.mark.parametrize(
    "comment", ["energy=-1.5 energy=-1.5", r'energy=-1.5 note="energy=-2.5 \"energy=-3\"" b={energy=1 2} energy = -1.5']
)
def test_what_a_comment_says_twice_may_be_the_same(tmp_path, comment):
    (tmp_path / "a.xyz").write_text(f"1\n{comment}\nAl 0 0 0\n")
    assert read_structure(tmp_path / "a.xyz").get_potential_energy() == -1.5


def test_a_label_that_ase_does_not_know_in_one_of_its_formats(tmp_path):
    Atoms("AlH", positions=[[0, 0, 0], [1, 1, 1]], cell=[4, 4, 4], pbc=True).write(tmp_path / "a.vasp")
    (tmp_path / "a.vasp").write_text((tmp_path / "a.vasp").read_text().replace(" H", " T"))
    with pytest.raises(InputError, match="ASE does not know this label: write an xyz file"):
        read_structure(tmp_path / "a.vasp")


@pytest.mark.parametrize(("comment", "told"), [("geometry in Bohr", 1), ("Bohrium, energies in eV", 0), ("", 0)])
def test_bohr_in_a_comment_is_told(tmp_path, caplog, comment, told):
    (tmp_path / "a.xyz").write_text(f"1\n{comment}\nAl 0 0 1\n" * 2)
    assert [atoms.positions[0, 2] for atoms in read_structures(tmp_path / "a.xyz")] == [1, 1]
    assert caplog.text.count("a.xyz speaks of Bohr: its positions and cell are read in Angstrom") == told


def test_units_that_are_named_are_not_told(tmp_path, caplog):
    for comment in (
        "# CELL(abcABC): 7 7 7 90 90 90 positions{angstrom} cell{angstrom}",
        "plain",
        "Lattice='4 0 0 0 4 0 0 0 4'",
    ):
        (tmp_path / "a.xyz").write_text(f"1\n{comment}\nAl 1 2 3\n")
        read_structure(tmp_path / "a.xyz")
    assert not caplog.text


def test_one_cell_before_many_models_of_a_pdb(tmp_path):
    frames = [Atoms("OHH", positions=WATER + k, cell=[9, 8, 7], pbc=True) for k in (2, 3)]
    ase.io.write(tmp_path / "a.pdb", frames)
    lines = (tmp_path / "a.pdb").read_text().splitlines()
    first = next(line for line in lines if line.startswith("CRYST1"))
    text = [first, *(line for line in lines if not line.startswith("CRYST1"))]
    (tmp_path / "a.pdb").write_text("\n".join(text) + "\n")
    read = list(read_structures(tmp_path / "a.pdb"))
    assert len(read) == 2
    for atoms, frame in zip(read, frames, strict=True):
        np.testing.assert_allclose(atoms.positions, frame.positions, atol=1e-3)
        np.testing.assert_allclose(atoms.cell.array, frame.cell.array, atol=1e-3)
        assert atoms.pbc.all()
    text[0] = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1"
    (tmp_path / "a.pdb").write_text("\n".join(text) + "\n")
    assert not any(atoms.pbc.any() or atoms.cell.rank for atoms in read_structures(tmp_path / "a.pdb"))


FRAME = "2\nProperties=species:S:1:pos:R:3 config_type=Oberfläche energy=1.0\nAl 0 0 0\nAl 2 2 2\n"


@pytest.mark.parametrize(
    ("before", "between", "after", "encoding"),
    [
        ("", "\n", "", "utf-8"),
        ("", " \n\n", "\n\n", "latin-1"),
        ("\n", "", "", "utf-8"),
        ("\ufeff", "", "", "utf-8"),
        ("", "", "", "latin-1"),
    ],
)
def test_every_frame_is_read_whatever_is_between(tmp_path, before, between, after, encoding):
    """A blank line is no end of a file; names in the letters of older programs are names."""
    path = tmp_path / "a.extxyz"
    path.write_bytes((before + FRAME + between + FRAME + after).encode(encoding))
    found = list(read_structures(path))
    assert [len(atoms) for atoms in found] == [2, 2]
    assert [atoms.info["config_type"] for atoms in found] == ["Oberfläche"] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FRAME + "hello\n", r"structure 1 begins with 'hello', must begin with its number of atoms"),
        (FRAME.replace("2\n", "1\n", 1) + FRAME, r"structure 1 begins with 'Al 2 2 2'"),
        (FRAME.replace("Al 2", "\nAl 2"), r"structure 0 has no label in the line of atom 1: ''"),
    ],
)
def test_frames_of_another_length_than_they_say(tmp_path, text, message):
    path = tmp_path / "a.extxyz"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        list(read_structures(path))


CIF = """data_x
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 4
0 4
0 4
ITEM: ATOMS id type {} x y z
1 1 {} 0 0 0
2 2 {} 2 2 0
"""
DATA = """LAMMPS data

2 atoms
2 atom types
0 4 xlo xhi
0 4 ylo yhi
0 4 zlo zhi
{}
Atoms # atomic

1 1 0 0 0
2 2 2 2 0
"""
PDB = """HETATM    1  O  {}HOH A   1       0.000   0.000   0.000  0.60  0.00           O
HETATM    2  O  {}HOH A   1       0.500   0.000   0.000  0.40  0.00           O
END
"""


GRO = """ions
 2
    1{:5}{:>5}    1   0.126   1.624   1.679
    2SOL     OW    2   0.275   1.587   1.732
   1.82060   1.82060   1.82060
"""
LABELS = CIF.replace("_atom_site_type_symbol\n", "").replace("_atom_site_occupancy\n", "")
DLPOLY = "title\n 0 0\n{} 1\n 0 0 0\nO 2\n 1 1 1\n"
BARE = "ATOM      1 {} {} A   1       0.000   0.000   0.000  1.00  0.00\nEND\n"
XYZ = "3\n\n{} 0 0 0\n{} 0 0 2\n{} 0 2 0\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.cif", CIF + "Al1 Al 0 0 0 0.5\nCu1 Cu 0 0 0 0.5\n", "is disordered: a site is occupied by 0.5 Al, 0.5 Cu"),
        ("a.cif", CIF + "Al1 Al 0 0 0 0.7\n", "is disordered: a site is occupied by 0.7 Al"),
        ("a.lammpstrj", DUMP.format("", "", ""), "names no elements: .* add a column `element`"),
        ("a.lammps-data", DATA.format(""), "names no elements: .* add a section Masses"),
        ("a.data", DATA.format(""), "names no elements: .* add a section Masses"),
        (
            "a.data",
            DATA.format("\nMasses\n\n1 1\n2 4.0026\n"),
            "has atoms of type 1 whose element is unknown: a mass of 1",
        ),
        ("a.data", "hello\n", r"no structure in it .it was read as runnerdata: RuNNer input.data file."),
        ("a.lmp", "units metal\n", "in a format that ASE does not recognise; write another, such as extended XYZ"),
        (
            "a.xyz",
            XYZ.format("C1", "HO", "OXT"),
            r"has names of atoms .C1. in place of elements, and HO would be read as Ho",
        ),
        (
            "a.xyz",
            XYZ.format("H12", "CD", "HA2"),
            r"names of atoms .H12, HA2. in place of elements, and CD would be .* Cd",
        ),
        (
            "a.pdb",
            BARE.format(" CA ", "ALA"),
            "an atom named CA and no element in columns 77 and 78: it would be read as Ca",
        ),
        ("a.pdb", BARE.format("HG  ", "SER"), "an atom named HG and no element"),
        (
            "a.gro",
            GRO.format("NA", "NA"),
            "an atom called NA, which would be read as N: write elements, in extended XYZ",
        ),
        ("a.gro", GRO.format("LIG", "CL1"), "an atom called CL1, which would be read as C"),
        ("a.gro", GRO.format("SOD", "SOD"), "an atom called SOD, which would be read as S"),
        ("a.gro", GRO.format("SOL", "MW"), "an atom called MW, which would be read as W: write elements"),
        ("a.config", DLPOLY.format("NA+"), "an atom called NA.?, which would be read as N"),
        ("a.cif", LABELS + "CL1 0 0 0\nO1 0.5 0 0\n", "an atom called CL1, which would be read by its first letter"),
        ("a.pdb", PDB.format("A", "B"), "alternative locations A, B"),
        (
            "a.xyz",
            "1\nProperties=species:S:1:forces:R:3\nAl 0 0 0\n",
            "no column of positions .pos.; .* forces",
        ),
        ("a.xyz", "1\nProperties=element:S:1:pos:R:3\nAl 0 0 0\n", "no column of elements .species.; .* element, pos"),
        ("a.xyz", '1\nlattice="4 0 0 0 4 0 0 0 4"\nAl 0 0 0\n', "has lattice= .* write Lattice="),
        ("a.xyz", '1\ncell="4 4 4"\nAl 0 0 0\n', "has cell= .* write Lattice="),
        ("a.xyz", '1\nLattice="4 0 0 0 4 0 0 0 4" PBC="T T F"\nAl 0 0 0\n', "has PBC= .* write pbc="),
        ("a.xyz", '1\nLattice="4 0 0 0 4 0 0 0 4" pbc="no no no"\nAl 0 0 0\n', 'has pbc="no no no", and ASE takes'),
        ("a.xyz", '1\nLattice="4 0 0 0 4 0 0 0 4" pbc=none\nAl 0 0 0\n', 'has pbc="none", .* write T or F'),
        ("a.xyz", "1\nproperties=pos:R:3:species:S:1\n0 0 0 Al\n", "has properties= .* write Properties="),
        ("a.xyz", "1\nunits=bohr\nAl 0 0 0\n", "says units = bohr, .* read in Angstrom"),
        (
            "a.xyz",
            '1\nLattice="4 0 0 0 4 0 0 0 4" length_unit="a.u."\nAl 0 0 0\n',
            "says length_unit = a.u., .* convert",
        ),
        ("a.xyz", "1\nlength=nm\nAl 0 0 0\n", "says length = nm, "),
        (
            "a.xyz",
            "2\nProperties=species:S:1:pos:R:3:Z:I:1\nPd 0 0 0 46\nPd 3 0 0 78\n",
            "atom 1 called Pd whose atomic number is 78",
        ),
    ],
)
def test_what_ase_would_guess_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_structure(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "formula"),
    [
        ("a.cif", CIF + "Al1 Al 0 0 0 1\nCu1 Cu 0.5 0.5 0 1.0\n", "AlCu"),
        ("a.lammpstrj", DUMP.format("element", "H", "He"), "HHe"),
        ("a.lammpstrj", DUMP.format("mass", "26.98", "63.5"), "AlCu"),
        ("a.lammps-data", DATA.format("\nMasses\n\n1 1.008\n2 4.0026\n"), "HHe"),
        ("a.data", DATA.format("\nMasses\n\n1 1.008\n2 4.0026\n"), "HHe"),
        ("in.lmp", DATA.format("\nMasses\n\n1 1.008\n2 4.0026\n"), "HHe"),
        ("a.xyz", XYZ.format("C1", "H", "H2"), "CH2"),
        ("a.xyz", XYZ.format("CA", "CL", "CL"), "CaCl2"),
        ("a.pdb", BARE.format("CA  ", " CA"), "Ca"),
        ("a.pdb", BARE.format("  CA", "  1"), "Ca"),
        ("a.gro", GRO.format("ALA", "CA"), "CO"),
        ("a.gro", GRO.format("SER", "1HG"), "HO"),
        ("a.config", DLPOLY.format("Na+"), "NaO"),
        ("a.cif", LABELS + "Cl1 0 0 0\nOW 0.5 0 0\n", "ClO"),
        ("a.pdb", PDB.format("A", "A"), "O2"),
        ("a.xyz", "1\nProperties=Z:I:1:pos:R:3\n13 0 0 0\n", "Al"),
        ("a.xyz", "2\nProperties=species:S:1:pos:R:3:Z:I:1\nAl 0 0 0 13\nD 2 0 0 1\n", "HAl"),
        ("a.xyz", "1\nenergy_unit=au units=angstrom unit=eV length=12 lengths=normal\nAl 0 0 0\n", "Al"),
        ("a.xyz", "1\nlattice=fcc, cell = small\nAl 0 0 0\n", "Al"),
        ("a.xyz", '1\nLattice="4 0 0 0 4 0 0 0 4" cell="1 2 3"\nAl 0 0 0\n', "Al"),
    ],
)
def test_what_a_file_says_is_read(tmp_path, name, text, formula):
    (tmp_path / name).write_text(text)
    assert read_structure(tmp_path / name).get_chemical_formula() == formula


@pytest.mark.parametrize(("labels", "told"), [("N CA C", "labels CA are read as the elements Ca"), ("CA CL CL", "")])
def test_capitals_that_may_be_names_of_atoms_are_told_once(tmp_path, caplog, labels, told):
    """A backbone, or a calcium salt: ASE reads both so."""
    path = tmp_path / "a.xyz"
    path.write_text(3 * XYZ.format(*labels.split()))
    assert [len(atoms) for atoms in read_structures(path)] == [3, 3, 3]
    assert caplog.text.count("are read as the elements") == bool(told)
    assert told in caplog.text


DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 5
0 5
0 5
ITEM: ATOMS id element x y z fx fy fz
2 Cu 2.5 0 0 -1 0 0
1 Cu 0 0 0 1 0 0
"""


@pytest.mark.parametrize(
    ("units", "force", "told"), [("", 1.0, True), ("metal", 1.0, False), ("real", 0.0433641, False)]
)
def test_a_dump_of_lammps_has_no_energy_and_the_units_that_it_says(tmp_path, caplog, units, force, told):
    """ASE gives it an energy of zero, which was a label, and forces as those of units metal."""
    (tmp_path / "a.dump").write_text((f"ITEM: UNITS\n{units}\n" if units else "") + DUMP)
    (atoms,) = read_structures(tmp_path / "a.dump")
    assert list(atoms.calc.results) == ["forces"]
    np.testing.assert_allclose(atoms.calc.results["forces"][:, 0], [force, -force], rtol=1e-5)
    assert ("forces are read in eV/Angstrom" in caplog.text) == told
