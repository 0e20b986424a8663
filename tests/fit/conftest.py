"""A small model of silicon, fitted once, and the configuration that it comes from."""

from pathlib import Path

import numpy as np
import pytest

from forceserver.fit.config import FitConfig
from forceserver.fit.run import fit

DATA = Path(__file__).parents[1] / "data" / "silicon.extxyz"


def small(folder):
    """A configuration as a dictionary: 30 sparse points, a two-body part and a ZBL core."""
    basis = {
        "kind": "gto",
        "n_max": 5,
        "l_max": 3,
        "cutoff": {"cutoff_angstrom": 4.5, "width_angstrom": 1.0},
        "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
        "scaling": False,
    }
    return {
        "output": str(folder / "si.npz"),
        "data": {"train": str(DATA)},
        "descriptors": [
            {"kind": "soap", "basis": basis, "zeta": 3, "n_sparse": 30, "delta_ev": 1.0},
            {"kind": "pair", "cutoff_angstrom": 4.0, "smoothing_angstrom": 1.0, "n_sparse": 8},
        ],
        "baseline": [{"form": "zbl", "species": ["Si", "Si"], "cutoff_angstrom": 1.8, "smoothing_angstrom": 0.8}],
        "sigma": {"default": {"energy_ev": 0.003, "force_ev_per_angstrom": 0.1}, "Surface": {"energy_ev": 0.001}},
    }


@pytest.fixture
def content(tmp_path):
    """`small`, to be changed."""
    return small(tmp_path)


@pytest.fixture
def config(content):
    return FitConfig.model_validate(content)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """What `small` gives, fitted once for all tests of a file that only look at it, and its configuration."""
    config = FitConfig.model_validate(small(tmp_path_factory.mktemp("fitted")))
    return fit(config), config


@pytest.fixture(scope="session")
def alloy(tmp_path_factory):
    """Copper and gold by EMT: alloys, pure crystals, an isolated atom in a box and one without, a dimer, a cluster."""
    from ase import Atoms
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.io import write

    rng = np.random.default_rng(4)
    structures = []
    for number in range(12):
        atoms = bulk("Cu", a=3.75, cubic=True).repeat((1, 1, 2))
        atoms.numbers[rng.permutation(8)[: number % 9]] = 79
        atoms.set_cell(atoms.cell * rng.uniform(0.96, 1.04), scale_atoms=True)
        atoms.rattle(0.08, seed=number)
        structures.append(atoms)
    structures += [bulk("Cu"), bulk("Au")]
    structures += [Atoms("Cu", cell=[15] * 3, pbc=True, info={"config_type": "IsolatedAtom"})]
    structures += [Atoms("Au", info={"config_type": "IsolatedAtom"})]
    structures += [Atoms("CuAu", [[0, 0, 0], [2.5, 0, 0]]), Atoms("Cu3", [[0, 0, 0], [2.4, 0, 0], [0, 2.4, 0]])]
    for atoms in structures:
        atoms.calc = EMT()
        atoms.get_forces()
    path = tmp_path_factory.mktemp("alloy") / "alloy.extxyz"
    write(path, structures)
    return path
