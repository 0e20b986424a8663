"""ASE's `SocketIOCalculator` as the server, and derivatives taken over the wire."""

import os

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.socketio import SocketIOCalculator
from ase.io import write
from ipi_runs import HERE, aluminium, ended, start

STRAIN = 1e-4


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A triclinic crystal whose calculator is our driver behind ASE's server; EMT is in the driver."""
    folder = tmp_path_factory.mktemp("ase")
    atoms = aluminium(2, triclinic=True)
    write(folder / "template.xyz", atoms, format="extxyz")
    name = f"fs{os.getpid()}"
    with SocketIOCalculator(unixsocket=name) as calculator:
        driver = start(folder, "driver", str(HERE / "emt_driver.py"), "template.xyz", "--address", name, "--once")
        with ended(driver):
            atoms.calc = calculator
            yield atoms
            calculator.close()  # without EXIT: ASE just closes the socket
            assert driver.wait(30) == 0


def test_energy_forces_and_stress_are_those_of_the_calculator(served):
    direct = served.copy()
    direct.calc = EMT()
    assert served.get_potential_energy() == pytest.approx(direct.get_potential_energy(), rel=1e-13)
    np.testing.assert_allclose(served.get_forces(), direct.get_forces(), atol=1e-12)
    np.testing.assert_allclose(served.get_stress(), direct.get_stress(), atol=1e-14)


def test_forces_are_the_derivative_of_the_energy(served):
    atoms = served.copy()
    atoms.calc = served.calc
    forces = atoms.get_forces()
    start = atoms.positions.copy()
    for atom, axis in (0, 0), (7, 1), (20, 2):
        energies = []
        for sign in 1, -1:
            atoms.positions[:] = start
            atoms.positions[atom, axis] += sign * 1e-3
            energies.append(atoms.get_potential_energy())
        assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / 2e-3, abs=2e-5)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)])
def test_virial_is_the_derivative_with_respect_to_strain(served, row, column):
    """Sign and transposition of cell and virial, with one shear of the triclinic cell at a time."""
    atoms = served.copy()
    atoms.calc = served.calc
    stress = atoms.get_stress(voigt=False)
    cell = served.cell.array
    energies = []
    for sign in 1, -1:
        strain = np.eye(3)
        strain[row, column] += sign * STRAIN
        atoms.set_cell(cell @ strain, scale_atoms=True)
        energies.append(atoms.get_potential_energy())
    derivative = (energies[0] - energies[1]) / (2 * STRAIN)
    assert stress[row, column] * served.get_volume() == pytest.approx(derivative, abs=1e-4)
    assert abs(derivative) > 1e-2
