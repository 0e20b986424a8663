"""Two thousand small molecules by default settings: H, C, N and O, energies and forces of ASE's EMT.

Molecules of ASE's g2 set with 2 to 26 atoms, displaced by 0.01 to 0.12 A: three fifths without a cell, one fifth in a
box of their own, one fifth two to a small periodic cell; 70 % have forces. 1800 are for training, 200 for the test, and
`fit` gets `[data]` alone. "Not closer" are the test structures without a distance between two species that is shorter
than the shortest one in the training structures.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.collections import g2

from forceserver.potentials.model_files import load_potential

from .copper_gold import errors, fitted, not_closer
from .harness import Table

COUNT, TRAINING = 2000, 1800


def names() -> list[str]:
    """The molecules of more than one atom that EMT knows all elements of."""
    return [name for name in g2.names if len(molecule(name)) > 1 and set(molecule(name).symbols) <= set("HCNO")]


def plain(name: str) -> Atoms:
    atoms = molecule(name)
    atoms.set_initial_magnetic_moments(None)
    return atoms


def structure(number: int, known: list[str], rng: np.random.Generator) -> Atoms:
    """A molecule, a molecule in a box, or two in a cell."""
    atoms = plain(known[rng.integers(len(known))])
    atoms.rattle(rng.uniform(0.01, 0.12), seed=number)
    kind = rng.random()
    if kind < 0.6:
        return atoms
    if kind < 0.8:
        atoms.center(vacuum=5.0)
    else:
        other = plain(known[rng.integers(len(known))])
        other.rotate(rng.uniform(0, 360), rng.normal(size=3))
        other.translate([0, 0, atoms.positions[:, 2].max() - other.positions[:, 2].min() + 2.6])
        atoms += other
        atoms.center(vacuum=1.6)
    atoms.pbc = True
    return atoms


def structures() -> list[Atoms]:
    """The same ones whenever they are made."""
    rng, known, made = np.random.default_rng(0), names(), []
    for number in range(COUNT):
        atoms = structure(number, known, rng)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        if rng.random() >= 0.7:
            del results["forces"]
        atoms.calc = SinglePointCalculator(atoms, **results)
        made.append(atoms)
    return made


def tables(quick: bool) -> Iterator[Table]:
    made = structures()
    train, test = made[:TRAINING], made[TRAINING:]
    near = not_closer(train, test)
    with tempfile.TemporaryDirectory(prefix="fsmolecules-") as name:
        model, seconds, memory = fitted(Path(name), train[:: 10 if quick else 1])
        potential = load_potential(model)
        table = Table("Molecules, `[data]` alone", ["test structures", "energies, meV/atom", "forces, eV/A"])
        for label, tested in ((f"all {len(test)}", test), (f"the {len(near)} that are not closer", near)):
            table.rows.append([label, *errors(potential, tested)])
        table.note = f"The fit took {seconds:.0f} s of processor time and {memory:.2f} GB."
        yield table
