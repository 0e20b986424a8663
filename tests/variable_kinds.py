"""One section [[cv]] of every kind, with all that it can do, for the tests that every kind must pass."""

import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write
from pydantic import TypeAdapter

from forceserver.cv.linear_functions import LinearFunctions
from forceserver.representation.bases import AnyRadialBasis

RATIONAL = {"kind": "rational", "r0_angstrom": 2.0, "n": 6, "d_max_angstrom": 4.5}
COSINE = {"kind": "cosine", "d0_angstrom": 2.5, "d_max_angstrom": 4.5}
BASIS = {
    "kind": "gto",
    "n_max": 3,
    "l_max": 4,
    "cutoff": {"cutoff_angstrom": 4.5, "width_angstrom": 0.5},
    "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
}
STEINHARDT = ("norm_of_mean", "mean_norm", "mean_local", "mean_averaged")
WEIGHTS = (0.7, -0.3, 0.2)

_FOLDER = tempfile.TemporaryDirectory()
FOLDER = Path(_FOLDER.name)
"""Files of the sections, while this module is there."""


def weights_file(name, species=(8, 22), normalise=True):
    """Two linear functions of the power spectrum of `BASIS`."""
    basis = TypeAdapter(AnyRadialBasis).validate_python(BASIS)
    number = 5 * 3 * len(species) * (3 * len(species) + 1) // 2
    weights, offsets = 0.1 * np.random.default_rng(7).normal(size=(2, number)), np.array([0.3, -0.2])
    LinearFunctions(basis, species, ("up", "down"), weights, offsets, normalise).save(FOLDER / name)
    return FOLDER / name


def references_file(name):
    """Three crystals of Ti and O, the first with two environments of each species that differ."""
    frames = []
    for seed in range(3):
        atoms = Atoms("TiOTiO", cell=[4.2 - 0.1 * seed, 4.4, 4.6 + 0.3 * seed], pbc=True)
        atoms.set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
        atoms.rattle(0.15, seed=seed)
        frames.append(atoms)
    write(FOLDER / name, frames)
    return FOLDER / name


KINDS = {
    "coordination of a switch": {"kind": "coordination", "switch": RATIONAL},
    "coordination of a basis": {"kind": "coordination", "basis": BASIS, "weights": WEIGHTS, "reduction": "sum"},
    "steinhardt of a switch": {
        "kind": "steinhardt",
        "l": 4,
        "switch": RATIONAL,
        "local_switch": COSINE | {"d_max_angstrom": 5.0},
        "outputs": STEINHARDT,
        "convention": "steinhardt",
    },
    "steinhardt of a basis": {
        "kind": "steinhardt",
        "l": 3,
        "basis": BASIS,
        "weights": WEIGHTS,
        "local_switch": COSINE,
        "outputs": STEINHARDT,
    },
    "steinhardt without partners": {
        "kind": "steinhardt",
        "l": 6,
        "switch": COSINE,
        "outputs": ("mean_norm", "norm_of_mean"),
    },
    "power spectrum": {"kind": "power_spectrum", "basis": BASIS, "weights": weights_file("unit.npz")},
    "plain power spectrum": {
        "kind": "power_spectrum",
        "basis": BASIS,
        "normalise": False,
        "reduction": "sum",
        "weights": weights_file("plain.npz", normalise=False),
    },
    "distance to structures": {
        "kind": "distance_to_structure",
        "basis": BASIS,
        "references": references_file("references.extxyz"),
        "sharpness": 20.0,
        "outputs": ("similarity", "distance", "s", "z"),
    },
}
