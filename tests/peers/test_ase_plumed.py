"""The action in ASE's own Plumed calculator: forces and stress of the biased potential, and molecular dynamics."""

import numpy as np
import pytest
from ase import units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from einstein import Einstein
from plumed_runs import start, table, version, write_config

from forceserver.configuration import read_configuration
from forceserver.cv import build_variables
from forceserver.frame import Frame

pytestmark = pytest.mark.plumed

TIME_STEP = 0.5 * units.fs


@pytest.fixture
def plumed_atoms(batio3, action, tmp_path, monkeypatch):
    """BaTiO3 on springs with a strong restraint on the variable, and the variable."""
    if version() < (2, 10):
        pytest.skip("PLUMED 2.9 cannot link the action against the kernel; see test_ipi_bias")
    from ase.calculators.plumed import Plumed

    monkeypatch.chdir(tmp_path)
    batio3.write("batio3.extxyz")
    config = tmp_path / "forceserver.toml"
    write_config(config, tmp_path / "cv.sock")
    server = start(config)
    lines = [
        f"LOAD FILE={action}",
        f"p: FORCESERVER ADDRESS={tmp_path}/cv.sock CV=polarization",
        "RESTRAINT ARG=p.x,p.y,p.z AT=0.02,0,0 KAPPA=1e5,1e5,1e5",
        "PRINT ARG=p.x,p.y,p.z FILE=COLVAR FMT=%.14g",
        "FLUSH STRIDE=1",
    ]
    calculator = Plumed(Einstein("batio3.extxyz"), lines, timestep=TIME_STEP, atoms=batio3, kT=300 * units.kB)
    batio3.calc = calculator
    yield batio3, build_variables(read_configuration(config).cv, Frame.from_ase(batio3))["polarization"]
    calculator.plumed.finalize()
    server.terminate()
    server.wait()


def test_values_forces_and_stress(plumed_atoms):
    atoms, variable = plumed_atoms
    start, cell, step = atoms.positions.copy(), atoms.cell.array.copy(), 1e-4
    kappa = 1e5 / (units.mol / units.kJ)
    expected = variable.compute(Frame.from_ase(atoms))
    deviation = expected.values - [0.02, 0, 0]
    assert atoms.get_potential_energy() == pytest.approx(0.5 * kappa * deviation @ deviation, rel=1e-6)
    pull = np.tensordot(-kappa * deviation, expected.gradients, axes=1)
    np.testing.assert_allclose(atoms.get_forces()[expected.active], pull, rtol=1e-5, atol=1e-6)
    stress = atoms.get_stress(voigt=False) * atoms.get_volume()
    strain = np.tensordot(kappa * deviation, expected.strain, axes=1)
    np.testing.assert_allclose(stress, 0.5 * (strain + strain.T), rtol=1e-4, atol=1e-5)
    energies = []
    for sign in (1, -1):
        deformation = np.eye(3)
        deformation[0, 1] += sign * step
        atoms.set_cell(cell @ deformation)
        atoms.positions = start @ deformation
        springs = 1.5 * np.sum((atoms.positions - start) ** 2)
        energies.append(atoms.get_potential_energy() - springs)
    slope = (energies[0] - energies[1]) / (2 * step)
    assert slope == pytest.approx(strain[0, 1], rel=1e-3)


def test_energy_is_conserved(plumed_atoms):
    atoms, variable = plumed_atoms
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    energies, frames = [], []
    dynamics = VelocityVerlet(atoms, timestep=TIME_STEP)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.attach(lambda: frames.append(Frame.from_ase(atoms)))
    dynamics.run(100)
    assert np.ptp(energies) < 5e-3
    times = table("COLVAR")["time"]
    assert np.diff(times)[-1] == pytest.approx(0.5e-3, rel=1e-4)  # ps
    colvar = np.array([column[-1] for name, column in table("COLVAR").items() if name != "time"])
    np.testing.assert_allclose(colvar, variable.compute(frames[-1]).values, atol=1e-9)
