"""What the figures of energies share: molecules, features by structure, linear and kernel regressions, errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

ALPHAS = np.geomspace(1e-11, 1e-2, 19)


@dataclass(frozen=True, eq=False)
class Molecules:
    """atoms: S molecules. energies: (S,), of formation, eV per atom. composition: (S, 4), fractions of H, C, N, O."""

    atoms: list[Atoms]
    energies: np.ndarray
    composition: np.ndarray

    @classmethod
    def read(cls, path: Path, every: int) -> "Molecules":
        """Every so many structures of a file, in random order."""
        atoms = read(path, f"::{every}")
        atoms = [atoms[k] for k in np.random.default_rng(0).permutation(len(atoms))]
        energies = np.array([a.info["dft_formation_energy_per_atom_in_eV"] for a in atoms])
        composition = np.array([[(a.numbers == s).mean() for s in SPECIES] for a in atoms])
        return cls(atoms, energies, composition)

    def totals(self, places: Sequence[int]) -> list[float]:
        """Energies of all atoms of some of the molecules, eV."""
        return [float(self.energies[k] * len(self.atoms[k])) for k in places]


SPECIES = (1, 6, 7, 8)


def means(features: np.ndarray, structure: np.ndarray, species: np.ndarray) -> np.ndarray:
    """(S, 4 F): sums of features (C, F) over the centres of each species, by the number of atoms."""
    count = structure.max() + 1
    out = np.zeros((count, len(SPECIES), features.shape[1]))
    for k, s in enumerate(SPECIES):
        np.add.at(out[:, k], structure[species == s], features[species == s])
    return (out / np.bincount(structure)[:, None, None]).reshape(count, -1)


def linear_errors(x: np.ndarray, data: Molecules, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Errors (eV per atom) of test molecules, by ridge regression beyond the composition on rows x (S, F)."""
    return kernel_errors(x @ x.T, data, train, test)


def kernel_errors(kernel: np.ndarray, data: Molecules, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The same for a kernel (S, S), its strength chosen by leaving out each training molecule, in closed form."""
    t, y = data.composition[train], data.energies[train]
    k = kernel[np.ix_(train, train)]
    best, solved = np.inf, None
    for alpha in ALPHAS:
        inverse = np.linalg.inv(k + alpha * np.trace(k) / len(k) * np.eye(len(k)))
        inverse -= inverse @ t @ np.linalg.solve(t.T @ inverse @ t, t.T @ inverse)  # the composition is free
        a = inverse @ y
        error = np.square(a / np.diag(inverse)).sum()
        if error < best:
            best, solved = error, a
    e_0 = np.linalg.lstsq(t, y - k @ solved, rcond=None)[0]
    return kernel[np.ix_(test, train)] @ solved + data.composition[test] @ e_0 - data.energies[test]


def rmse(errors: np.ndarray) -> float:
    """In meV per atom."""
    return float(1e3 * np.sqrt(np.mean(errors**2)))
