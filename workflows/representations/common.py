"""What the parts of the study share: where results go, how pictures look, features of structures."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms

from forceserver.frame import Frame
from forceserver.representation.config import ExpansionConfig
from forceserver.representation.describing import FeatureMap

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SILICON = HERE.parent / "silicon" / "Si_training.extxyz"
TOLERANCE = 1e-5

plt.rcParams.update({"font.size": 8, "axes.titlesize": 8, "legend.frameon": False, "lines.linewidth": 1.2})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.fontsize": 7})


def section(n_max: int, l_max: int, cutoff: float, sigma: float, width: float = 0.5, **keys) -> ExpansionConfig:
    """A section [expansion] with Gaussian-type orbitals; lengths in Angstrom. `scaling` is that of the basis."""
    basis = {
        "kind": "gto",
        "n_max": n_max,
        "l_max": l_max,
        "cutoff": {"cutoff_angstrom": cutoff, "width_angstrom": width},
        "density": {"kind": "gaussian", "sigma_angstrom": sigma},
        "scaling": keys.pop("scaling", None),
    }
    return ExpansionConfig.model_validate({"basis": basis, "tolerance": TOLERANCE} | keys)


def features(config: ExpansionConfig, structures: Sequence[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """Features (C, F) of all centres, and the structure (C,) of each."""
    maps = FeatureMap(config, structures)
    parts = [maps.at(maps.neighbours(Frame.of(atoms))).values().copy() for atoms in structures]
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def methane(number: int, seed: int = 0, radius: float = 3.0, closest: float = 0.6) -> list[Atoms]:
    """Carbon with four hydrogens at random inside a sphere, no two atoms closer than `closest` (Angstrom)."""
    rng = np.random.default_rng(seed)
    made: list[Atoms] = []
    while len(made) < number:
        positions = np.vstack([np.zeros(3), rng.uniform(-radius, radius, size=(4, 3))])
        distances = np.linalg.norm(positions[:, None] - positions, axis=2)[np.triu_indices(5, 1)]
        if distances.min() > closest and np.linalg.norm(positions, axis=1).max() < radius:
            made.append(Atoms("CH4", positions=positions))
    return made
