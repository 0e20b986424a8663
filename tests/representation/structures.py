"""Structures and the plainest possible neighbour search, for the tests of the representation."""

from itertools import product

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule


def barium_titanate(n: int = 2, rattle: float = 0.05, seed: int = 0) -> Atoms:
    atoms = Atoms(
        "BaTiO3",
        cell=[4.0] * 3,
        pbc=True,
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    ).repeat(n)
    atoms.rattle(rattle, seed=seed)
    return atoms


def silicon(rattle: float = 0.05, seed: int = 0) -> Atoms:
    """64 atoms."""
    atoms = bulk("Si", a=5.43, cubic=True).repeat(2)
    atoms.rattle(rattle, seed=seed)
    return atoms


def water() -> Atoms:
    """A molecule without cell."""
    return molecule("H2O")


def triclinic() -> Atoms:
    """Six atoms in a cell that is smaller than usual cutoffs."""
    cell = [[3.1, 0.2, -0.3], [0.7, 2.9, 0.4], [-0.5, 0.6, 3.4]]
    scaled = np.random.default_rng(3).random((6, 3))
    atoms = Atoms("OHHOTiH", cell=cell, pbc=True, scaled_positions=scaled)
    relax_contacts(atoms, 0.9)
    return atoms


def relax_contacts(atoms: Atoms, distance: float) -> None:
    """Pushes atoms apart until no pair is closer than `distance` (Angstrom)."""
    for _ in range(1000):
        i, _, d = pairs(atoms, distance)
        if len(d) == 0:
            return
        r = np.linalg.norm(d, axis=1)[:, None]
        np.add.at(atoms.positions, i, -0.3 * d / r * (distance - r + 0.01))
    raise RuntimeError(f"cannot place {len(atoms)} atoms at {distance} Angstrom")


STRUCTURES = {"batio3": barium_titanate, "silicon": silicon, "water": water, "triclinic": triclinic}


def pairs(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs i, j, r_j + image - r_i closer than the cutoff, over more images than can matter."""
    cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
    complete = atoms.cell.complete().array if atoms.cell.rank else np.eye(3)
    inverse = np.linalg.inv(np.where(atoms.pbc[:, None], cell, complete))
    scaled = atoms.positions @ inverse
    spread = scaled.max(axis=0) - scaled.min(axis=0)
    n_max = np.where(atoms.pbc, np.ceil(cutoff * np.linalg.norm(inverse, axis=0) + spread), 0).astype(int)
    vectors = atoms.positions[None, :, :] - atoms.positions[:, None, :]
    found = []
    for image in product(*(range(-n, n + 1) for n in n_max)):
        d = vectors + np.array(image) @ cell
        near = np.linalg.norm(d, axis=2) < cutoff
        if not any(image):
            np.fill_diagonal(near, False)
        i, j = np.nonzero(near)
        found.append((i, j, d[i, j]))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def rotation(seed: int = 0) -> np.ndarray:
    """A random proper rotation Q; vectors (rows) turn by r @ Q.T."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)
