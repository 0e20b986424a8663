"""Chooses descriptors and sigmas by cross-validation within the training structures: python choose.py

Four groups of structures in which every kind has its share; each is predicted by a model of the other three. The best
is that with the smallest product of the errors of energies (per atom) and forces; the last candidate, the contracted
one, is compared with it. Test structures are not read. About 15 minutes on one core; --quick takes a tenth of the
sparse points.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import threadpool_limits

from forceserver.fit.config import DataConfig, SoapDescriptor
from forceserver.fit.data import Labelled, read
from forceserver.fit.rows import SoapRows
from forceserver.fit.selection import choose_points, environments
from forceserver.frame import Array

FOLDS, DELTA = 4, 3.0
SIGMAS = [(0.002, 0.03), (0.004, 0.06), (0.006, 0.03), (0.012, 0.06)]  # eV, eV/Angstrom
POWER_SPECTRA = {  # n_max, l_max, cutoff, width of the density, scale and exponent of the radial scaling, zeta, q_max
    "5.0 Å": (8, 6, 5.0, 0.5, 2.5, 4, 4),
    "6.0 Å": (9, 6, 6.0, 0.5, 2.5, 4, 4),
    "4.0 Å": (8, 6, 4.0, 0.4, 2.5, 3, 4),
    "4.0 Å, sharp": (8, 7, 4.0, 0.3, 2.5, 3, 4),
    "4.0 Å, sharper": (8, 8, 4.0, 0.25, 2.5, 3, 4),
    "6.5 Å": (9, 6, 6.5, 0.6, 3.0, 4, 4),
    "6.5 Å, ζ 2": (9, 6, 6.5, 0.6, 3.0, 4, 2),
    "4.0 Å, sharp, contracted": (8, 7, 4.0, 0.3, 2.5, 3, 4, 5),
    "6.5 Å, ζ 2, contracted": (9, 6, 6.5, 0.6, 3.0, 4, 2, 5),
}
CANDIDATES = [
    ("5.0 Å",),
    ("6.0 Å",),
    ("5.0 Å", "6.0 Å"),
    ("4.0 Å", "6.5 Å"),
    ("4.0 Å, sharp", "6.0 Å"),
    ("4.0 Å, sharp", "6.5 Å"),
    ("4.0 Å, sharper", "6.5 Å"),
    ("4.0 Å, sharp", "6.5 Å, ζ 2"),
    ("4.0 Å, sharp, contracted", "6.5 Å, ζ 2, contracted"),
]
SPARSE, SPARSE_CONTRACTED = 1000, 800


def descriptor(
    n_max: int,
    l_max: int,
    cutoff: float,
    sigma: float,
    scale: float,
    exponent: int,
    zeta: int,
    q_max: int | None = None,
    *,
    share: float = 1.0,
) -> SoapDescriptor:
    """share: of the sparse points."""
    basis = {
        "kind": "gto",
        "n_max": n_max,
        "l_max": l_max,
        "cutoff": {"cutoff_angstrom": cutoff, "width_angstrom": 0.5},
        "density": {"kind": "gaussian", "sigma_angstrom": sigma},
        "scaling": {"rate": 1.0, "scale_angstrom": scale, "exponent": exponent},
    }
    given = {"kind": "soap", "zeta": zeta, "delta_ev": DELTA, "sparse_selection": "cur", "basis": basis}
    if q_max is None:
        return SoapDescriptor(**given, n_sparse=round(share * SPARSE))
    contraction = {"kind": "pca", "q_max": q_max}
    given |= {"contraction": contraction, "spline_tolerance": 1e-5}
    return SoapDescriptor(**given, n_sparse=round(share * SPARSE_CONTRACTED))


@dataclass
class Problem:
    """Labels of the structures: energies beyond the mean (n,), forces (3 N,), numbers of atoms and folds (n,)."""

    energy: Array
    forces: Array
    atoms: Array
    fold: Array

    @classmethod
    def of(cls, data: list[Labelled]) -> "Problem":
        atoms = np.array([len(one.frame) for one in data])
        energy = np.array([one.energy for one in data])
        order = np.random.default_rng(0).permutation(len(data)).tolist()
        order.sort(key=lambda number: data[number].group)
        fold = np.empty(len(data), dtype=int)
        fold[order] = np.arange(len(data)) % FOLDS
        forces = np.concatenate([one.forces.ravel() for one in data])
        return cls(energy - (energy / atoms).mean() * atoms, forces, atoms, fold)

    @property
    def fold_of_force(self) -> Array:
        return np.repeat(self.fold, 3 * self.atoms)


def columns(data: list[Labelled], given: SoapDescriptor) -> tuple[Array, Array]:
    """Rows for energies and forces in an orthonormal basis of the kernel's functions, single precision for forces."""
    frames = [one.frame for one in data]
    contraction = None
    if given.contraction is not None:
        contraction = given.contraction.make(given.basis, frames, (14,), tolerance=given.spline_tolerance)
    basis = given.power_spectrum((14,), **(contraction.fields() if contraction else {}))
    points = choose_points(environments(basis, frames, 0, 50_000)[0], given, "Si", 0)
    rows = SoapRows(given, basis, {14: points}, DELTA, contraction=contraction)
    whiten = np.linalg.inv(rows.regulariser())
    energies, forces = [], []
    for frame in frames:
        row = rows.rows(frame, True, False)
        energies.append(row.energy @ whiten)
        forces.append((row.forces @ whiten).astype(np.float32))
    return np.array(energies), np.concatenate(forces)


def errors(problem: Problem, energies: Array, forces: Array) -> dict[tuple[float, float], tuple[float, float]]:
    """(sigma of energies, of forces) -> RMSE of energies (meV/atom) and forces (eV/Angstrom) of the left-out."""
    weighted = energies / np.sqrt(problem.atoms)[:, None]
    target = problem.energy / np.sqrt(problem.atoms)
    products = []
    for k in range(FOLDS):
        e, f = weighted[problem.fold == k], forces[problem.fold_of_force == k]
        of_force = problem.forces[problem.fold_of_force == k].astype(np.float32)
        products.append((e.T @ e, e.T @ target[problem.fold == k], f.T @ f, f.T @ of_force))
    found = {}
    for sigma_e, sigma_f in SIGMAS:
        de, df = np.empty_like(problem.energy), np.empty_like(problem.forces)
        for k in range(FOLDS):
            rest = [part for number, part in enumerate(products) if number != k]
            ee, ey, ff, fy = (sum(parts).astype(float) for parts in zip(*rest, strict=True))
            matrix = ee / sigma_e**2 + ff / sigma_f**2
            matrix[np.diag_indices(len(matrix))] += 1 + 1e-12 * np.trace(matrix)
            weights = cho_solve(cho_factor(matrix), ey / sigma_e**2 + fy / sigma_f**2)
            mine, of_mine = problem.fold == k, problem.fold_of_force == k
            de[mine] = energies[mine] @ weights - problem.energy[mine]
            df[of_mine] = forces[of_mine] @ weights - problem.forces[of_mine]
        found[sigma_e, sigma_f] = (
            1e3 * float(np.sqrt(np.mean((de / problem.atoms) ** 2))),
            float(np.sqrt(np.mean(df**2))),
        )
    return found


def main(quick: bool) -> None:
    data = read(Path(__file__).parent / "Si_training.extxyz", DataConfig(train=Path(__file__)))
    problem = Problem.of(data)
    made: dict[str, tuple[Array, Array]] = {}
    best = (np.inf, "")
    for names in CANDIDATES:
        for name in names:
            if name not in made:
                made[name] = columns(data, descriptor(*POWER_SPECTRA[name], share=0.1 if quick else 1.0))
        energies, forces = (np.concatenate(parts, axis=1) for parts in zip(*(made[n] for n in names), strict=True))
        for (sigma_e, sigma_f), (e, f) in errors(problem, energies, forces).items():
            what = f"{' + '.join(names)}; sigmas {sigma_e} eV, {sigma_f} eV/Å"
            print(f"{e:6.2f} meV/atom {f:8.4f} eV/Å   {what}", flush=True)
            best = min(best, (e * f, what))
    print(f"best: {best[1]}")


if __name__ == "__main__":
    with threadpool_limits(1):
        main("--quick" in sys.argv[1:])
