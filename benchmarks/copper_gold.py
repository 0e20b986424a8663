"""An alloy by default settings: copper-gold, energies and forces of ASE's EMT.

54 structures for training and 40 for the test, made by the same rules from different seeds: fcc crystals of 32 atoms
(pure, ordered and random, strained by up to 4 %, displaced by 0.02 to 0.2 A), slabs of 24 atoms, clusters of 13. `fit`
gets `[data]` alone. "Not closer" are the test structures without a distance between two species that is shorter than
the shortest one in the training structures.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.cluster import Icosahedron
from ase.io import write
from ase.neighborlist import neighbor_list

from forceserver.frame import Frame
from forceserver.potentials.model_files import load_potential

from .gap import run
from .harness import Table

LATTICE_ANGSTROM = {"Cu": 3.61, "Au": 4.08}
"""Of the pure metals; alloys lie between them."""
EACH = {"train": 27, "test": 20}
"""How many crystals; as many slabs and clusters together."""
SEEDS = {"train": 1, "test": 2}
LONGEST_ANGSTROM = 3.0
"""Of the distances that are compared."""


def coloured(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Gives the sites species: one of them, ordered in layers, or at random; scaled to Vegard's lattice constant."""
    share = rng.choice([0.0, 1.0, rng.random()], p=[0.1, 0.1, 0.8])
    gold = rng.random(len(atoms)) < share
    if rng.random() < 0.2:
        gold = np.round(atoms.positions[:, 2], 3) % (2 * 1.805) < 1
    atoms.symbols = np.where(gold, "Au", "Cu")
    lattice = LATTICE_ANGSTROM["Cu"] + gold.mean() * (LATTICE_ANGSTROM["Au"] - LATTICE_ANGSTROM["Cu"])
    factor = lattice / LATTICE_ANGSTROM["Cu"]
    atoms.set_cell(atoms.cell.array * factor)
    atoms.positions *= factor
    return atoms


def displaced(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Strain, where there is a cell, and displacements."""
    strain = rng.uniform(-0.04, 0.04, size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    atoms.positions += rng.normal(scale=rng.uniform(0.02, 0.2), size=atoms.positions.shape)
    return atoms


def crystal(rng: np.random.Generator) -> Atoms:
    return displaced(coloured(bulk("Cu", cubic=True).repeat(2), rng), rng)


def open_structure(rng: np.random.Generator) -> Atoms:
    """A slab with 12 A of vacuum, or a cluster."""
    if rng.random() < 0.5:
        slab = coloured(fcc111("Cu", (2, 3, 4), orthogonal=False), rng)
        slab.center(vacuum=6.0, axis=2)
        slab.pbc = True
        return displaced(slab, rng)
    cluster = coloured(Icosahedron("Cu", 2), rng)
    cluster.positions += rng.normal(scale=rng.uniform(0.02, 0.2), size=cluster.positions.shape)
    return cluster


def labelled(atoms: Atoms) -> Atoms:
    """The structure with energy and forces."""
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def structures(part: str) -> list[Atoms]:
    """The same ones whenever they are made."""
    rng = np.random.default_rng(SEEDS[part])
    made = [make(rng) for make in (crystal, open_structure) for _ in range(EACH[part])]
    return [labelled(atoms) for atoms in made]


def shortest(atoms: Atoms) -> dict[tuple[int, int], float]:
    """The shortest distance of each pair of species, if it is a short one."""
    found: dict[tuple[int, int], float] = {}
    for i, j, distance in zip(*neighbor_list("ijd", atoms, LONGEST_ANGSTROM), strict=True):
        pair = tuple(sorted((int(atoms.numbers[i]), int(atoms.numbers[j]))))
        found[pair] = min(distance, found.get(pair, np.inf))
    return found


def not_closer(train: list[Atoms], test: list[Atoms]) -> list[Atoms]:
    """The test structures in which no distance is shorter than the shortest of these species in training structures."""
    known: dict[tuple[int, int], float] = {}
    for atoms in train:
        for pair, distance in shortest(atoms).items():
            known[pair] = min(distance, known.get(pair, np.inf))
    return [atoms for atoms in test if all(d >= known.get(pair, np.inf) for pair, d in shortest(atoms).items())]


def errors(potential, tested: list[Atoms]) -> tuple[float, float]:
    """Root mean squares: meV/atom, eV/A, the latter of the structures that have forces."""
    energies, forces = [], []
    for atoms in tested:
        result = potential.compute_one(Frame.from_ase(atoms))
        energies.append((result.energy - atoms.get_potential_energy()) / len(atoms))
        if "forces" in atoms.calc.results:
            forces.append((result.forces - atoms.get_forces()).ravel())
    return 1e3 * float(np.sqrt(np.mean(np.square(energies)))), float(np.sqrt(np.mean(np.concatenate(forces) ** 2)))


def fitted(folder: Path, train: list[Atoms]) -> tuple[Path, float, float]:
    """The model, CPU seconds and memory (GB) of the fit."""
    write(folder / "train.extxyz", train)
    (folder / "fit.toml").write_text('output = "model.npz"\n[data]\ntrain = "train.extxyz"\n')
    return folder / "model.npz", *run([sys.executable, "-m", "forceserver", "fit", "fit.toml"], folder)


def tables(quick: bool) -> Iterator[Table]:
    train, test = structures("train"), structures("test")
    near = not_closer(train, test)
    with tempfile.TemporaryDirectory(prefix="fsalloy-") as name:
        model, seconds, memory = fitted(Path(name), train[:: 4 if quick else 1])
        potential = load_potential(model)
        table = Table(
            "Copper-gold, `[data]` alone", ["test structures", "energies, meV/atom", "forces, eV/A", "of (rms)"]
        )
        for label, tested in ((f"all {len(test)}", test), (f"the {len(near)} that are not closer", near)):
            rms = float(np.sqrt(np.mean(np.concatenate([atoms.get_forces().ravel() for atoms in tested]) ** 2)))
            table.rows.append([label, *errors(potential, tested), rms])
        table.note = f"The fit took {seconds:.0f} s of processor time and {memory:.2f} GB."
        yield table
