"""A sparse kernel model served to ASE through the driver: derivatives to eight digits on the other side."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.socketio import SocketIOCalculator
from ase.io import write

from forceserver.fit import run
from forceserver.fit.config import FitConfig

DATA = Path(__file__).parents[1] / "data" / "silicon.extxyz"
CONFIG = """
structure.file = "template.extxyz"
socket.mode = "unix"
socket.address = "{name}"
[potential]
kind = "gap"
model = "si.npz"
"""
STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))


@pytest.fixture
def served(tmp_path):
    """A rattled and sheared crystal; no pair comes near a distance where the cutoff's second derivative jumps."""
    basis = {
        "kind": "gto",
        "n_max": 4,
        "l_max": 3,
        "cutoff": {"cutoff_angstrom": 4.2, "width_angstrom": 1.0},
        "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
    }
    soap = {"kind": "soap", "basis": basis, "zeta": 3, "n_sparse": 30}
    content = {"output": str(tmp_path / "si.npz"), "data": {"train": str(DATA)}, "descriptors": [soap]}
    run.fit(FitConfig.model_validate(content))
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=4)
    atoms.set_cell(atoms.cell.array @ [[1.01, 0.02, 0], [0, 0.99, 0], [0.01, 0, 1]], scale_atoms=True)
    write(tmp_path / "template.extxyz", atoms)
    name = f"fsgap{os.getpid()}"
    (tmp_path / "config.toml").write_text(CONFIG.format(name=name))
    with SocketIOCalculator(unixsocket=name) as calculator:
        driver = subprocess.Popen([sys.executable, "-m", "forceserver", "drive", "config.toml"], cwd=tmp_path)
        try:
            atoms.calc = calculator
            yield atoms
        finally:
            driver.terminate()
            driver.wait(30)


def test_forces_and_stress_are_derivatives_to_eight_digits(served):
    forces, stress = served.get_forces(), served.get_stress(voigt=False)
    start, cell, h = served.positions.copy(), served.cell.array.copy(), 1e-3
    atom, axis = np.unravel_index(np.abs(forces).argmax(), forces.shape)
    slope = 0.0
    for k, weight in STENCIL:
        served.positions[:] = start
        served.positions[atom, axis] += k * h
        slope += weight * served.get_potential_energy() / h
    assert -slope == pytest.approx(forces[atom, axis], rel=1e-8)
    i, j = np.unravel_index(np.abs(stress).argmax(), (3, 3))
    slope = 0.0
    for k, weight in STENCIL:
        strain = np.eye(3)
        strain[i, j] += 0.3 * k * h
        served.set_cell(cell @ strain)
        served.positions[:] = start @ strain
        slope += weight * served.get_potential_energy() / (0.3 * h)
    assert slope / abs(np.linalg.det(cell)) == pytest.approx(stress[i, j], rel=1e-8)
