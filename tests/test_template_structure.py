"""Reading the template structure."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.units import Bohr, Hartree

from forceserver.errors import InputError
from forceserver.ipi.direct import DirectDriver
from forceserver.ipi.driver import DriverConfig
from forceserver.ipi.wire.frames import IncomingFrames
from forceserver.ipi.wire.layout import MessageLayout
from forceserver.potentials.ase import AsePotential
from forceserver.template_structure import StructureConfig, read_template

TRICLINIC = [[4.0, 0.0, 0.0], [0.5, 3.9, 0.0], [0.2, -0.3, 4.1]]


def salt() -> Atoms:
    return Atoms("NaCl", positions=[[0.1, 0.2, 0.3], [2.0, 1.9, 2.1]], cell=TRICLINIC, pbc=True)


@pytest.mark.parametrize("name", ["a.extxyz", "a.xyz", "a.cif", "a.vasp", "a.json"])
def test_formats_of_ase(tmp_path, name):
    salt().write(tmp_path / name)
    frame = read_template(StructureConfig(file=tmp_path / name))
    assert sorted(frame.species) == [11, 17]
    assert frame.pbc.all()


def test_the_last_structure_counts(tmp_path):
    import ase.io

    ase.io.write(tmp_path / "a.extxyz", [bulk("Al"), salt()])
    assert list(read_template(StructureConfig(file=tmp_path / "a.extxyz")).species) == [11, 17]


@pytest.mark.parametrize("kind", ["abcABC", "H"])
def test_xyz_of_ipi(tmp_path, kind):
    """i-PI's own comment line carries the cell; a triclinic cell must come through."""
    from ase.geometry import cell_to_cellpar

    numbers = cell_to_cellpar(TRICLINIC) if kind == "abcABC" else np.array(TRICLINIC).T.ravel()
    lines = ["2", f"# CELL({kind}): {' '.join(f'{x:.12f}' for x in numbers)} positions{{angstrom}} cell{{angstrom}}"]
    lines += [f"{s} {x} {y} {z}" for s, (x, y, z) in zip(salt().symbols, salt().positions, strict=True)]
    (tmp_path / "init.xyz").write_text("\n".join(lines) + "\n")
    frame = read_template(StructureConfig(file=tmp_path / "init.xyz"))
    assert list(frame.species) == [11, 17]
    assert frame.pbc.all()
    np.testing.assert_allclose(frame.positions, salt().positions, atol=1e-8)
    np.testing.assert_allclose(frame.cell, TRICLINIC, atol=1e-7)


def test_periodicity_can_be_said(tmp_path):
    salt().write(tmp_path / "a.extxyz")
    frame = read_template(StructureConfig(file=tmp_path / "a.extxyz", pbc=(True, True, False)))
    assert list(frame.pbc) == [True, True, False]


def test_a_molecule_in_a_box_is_not_periodic(tmp_path):
    """The file says pbc="F F F", and it has a cell."""
    atoms = salt()
    atoms.pbc = False
    atoms.write(tmp_path / "a.extxyz")
    assert not read_template(StructureConfig(file=tmp_path / "a.extxyz")).pbc.any()


def test_molecule_is_not_periodic(tmp_path):
    Atoms("OH2", positions=np.eye(3)).write(tmp_path / "a.xyz")
    assert not read_template(StructureConfig(file=tmp_path / "a.xyz")).pbc.any()


def test_periodic_without_cell_is_refused(tmp_path):
    Atoms("OH2", positions=np.eye(3)).write(tmp_path / "a.xyz")
    with pytest.raises(InputError, match="is periodic along a but has no cell vector"):
        read_template(StructureConfig(file=tmp_path / "a.xyz", pbc=True))


def test_flat_cell_is_refused(tmp_path):
    atoms = Atoms("OH2", positions=np.eye(3), cell=[[3, 0, 0], [0, 3, 0], [1, 2, 0]], pbc=(True, True, False))
    atoms.write(tmp_path / "a.extxyz")
    assert list(read_template(StructureConfig(file=tmp_path / "a.extxyz")).pbc) == [True, True, False]
    with pytest.raises(InputError, match="has a singular cell"):
        read_template(StructureConfig(file=tmp_path / "a.extxyz", pbc=True))


@pytest.mark.parametrize(("name", "content"), [("a.extxyz", "3\nx\nAl 0 0 0\n"), ("a.foo", "?"), ("a.xyz", "")])
def test_unreadable_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=rf"structure .*{name}: ?"):
        read_template(StructureConfig(file=tmp_path / name))


def test_positions_must_be_numbers(tmp_path):
    (tmp_path / "a.extxyz").write_text('1\nLattice="1 0 0 0 1 0 0 0 1"\nAl nan 0 0\n')
    with pytest.raises(InputError, match="not finite"):
        read_template(StructureConfig(file=tmp_path / "a.extxyz"))


def test_every_frame_of_a_server_has_the_charges_and_the_info_of_the_template(tmp_path):
    """i-PI sends positions and a cell only."""
    atoms = salt()
    atoms.set_initial_charges([1, -1])
    atoms.info["charge"] = 2
    atoms.write(tmp_path / "a.extxyz")
    template = read_template(StructureConfig(file=tmp_path / "a.extxyz"))
    direct = DirectDriver(AsePotential(Charged()), template, DriverConfig())
    ((energy, *_),) = direct.evaluate([template.cell.T / Bohr], [template.positions / Bohr])
    assert energy == pytest.approx(21 / Hartree)
    for frame in IncomingFrames(template, MessageLayout(2, 3, shared_memory=False)).frames:
        frame.positions, frame.cell = template.positions, template.cell
        assert AsePotential(Charged()).compute_one(frame).energy == pytest.approx(21)


class Charged(Calculator):
    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy = 10 * atoms.info["charge"] + atoms.get_initial_charges()[0]
        self.results = {"energy": energy, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}
