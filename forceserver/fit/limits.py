"""What a model says far from its data: dimers, compressed structures, and structures that are stretched to atoms.

A model knows nothing there, and may have holes into which a simulation falls.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from ..elements import bond_length
from ..frame import Array, Frame
from ..potentials.model import ModelPotential
from .data import Labelled
from .defaults import shortest_distances

STRUCTURES = 6  # that are compressed and stretched, of different groups first
LARGEST = 300  # atoms of these
COMPRESSED = np.linspace(1.0, 0.6, 17)
DENSE = 0.85  # scale from which on compression must cost energy
NEAR = 0.8  # of the shortest distance in the data, from which on a dimer must repel
STRETCHED = np.array([1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.7, 2.0, 2.5])
APART = 1.3  # scale from which on atoms must not gain energy by leaving
SLACK = 0.02  # eV per atom


@dataclass(frozen=True)
class Limit:
    """what: which limit. found: what the model says there. hole: whether that cannot be."""

    what: str
    found: str
    hole: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.found}{' (hole)' if self.hole else ''}"


def examine(potential: ModelPotential, train: Sequence[Labelled], known: Iterable[int]) -> list[Limit]:
    """All limits; known: species (atomic numbers) whose e_0 is that of an atom."""
    shortest = shortest_distances([one.frame for one in train])
    found = [_dimer(potential, pair, shortest) for pair in combinations_with_replacement(potential.model.species, 2)]
    for number in representatives(train):
        frame, name = train[number].frame, train[number].name
        found.append(_compressed(potential, frame, name))
        found.append(_stretched(potential, frame, name, shortest))
    return found + _unseen(potential.model.species, shortest) + _atoms(potential, known)


def representatives(train: Sequence[Labelled]) -> list[int]:
    """Structures of as many groups as possible, the smallest of each; a single large one if all are large."""
    order = sorted(range(len(train)), key=lambda number: len(train[number].frame))
    seen: Counter[str] = Counter()
    rank = {}
    for number in order:
        rank[number] = seen[train[number].group]
        seen[train[number].group] += 1
    small = [number for number in order if len(train[number].frame) <= LARGEST]
    return sorted(sorted(small or order[:1], key=rank.__getitem__)[:STRUCTURES])


def _dimer(potential: ModelPotential, pair: tuple[int, int], shortest: Mapping[tuple[int, int], float]) -> Limit:
    from ase.data import chemical_symbols

    bond = min(shortest.get(pair, np.inf), float(bond_length(*pair)))
    r = bond * np.linspace(1.0, 0.4, 31)
    frames = [
        Frame(np.array([[0.0, 0.0, 0.0], [x, 0.0, 0.0]]), np.eye(3), np.array(pair, np.int32), np.zeros(3, bool))
        for x in r
    ]
    energies = np.array([potential.compute_one(frame).energy for frame in frames])
    inside = energies[r <= NEAR * bond]
    hole = bool((np.diff(inside) < 0).any() or inside[-1] < energies[0])
    half = energies[np.abs(r - 0.5 * bond).argmin()] - energies[0]
    name = "-".join(chemical_symbols[number] for number in pair)
    return Limit(f"dimer {name}", f"{half:+.1f} eV from {bond:.2f} to {bond / 2:.2f} Angstrom", hole)


def _scaled(frame: Frame, scale: float) -> Frame:
    return Frame(frame.positions * scale, frame.cell * scale, frame.species, frame.pbc)


def _along(potential: ModelPotential, frame: Frame, scales: Array) -> Array:
    """Energies per atom, eV."""
    return np.array([potential.compute_one(_scaled(frame, scale)).energy for scale in scales]) / len(frame)


def _compressed(potential: ModelPotential, frame: Frame, name: str) -> Limit:
    energies = _along(potential, frame, COMPRESSED)
    inside = energies[COMPRESSED <= DENSE + 1e-9]
    hole = bool((np.diff(inside) < 0).any() or energies[-1] < energies[0])
    return Limit(f"compression of {name}", f"{energies[-1] - energies[0]:+.2f} eV/atom at {COMPRESSED[-1]:.0%}", hole)


def _stretched(potential: ModelPotential, frame: Frame, name: str, shortest: Mapping[tuple[int, int], float]) -> Limit:
    reach = potential.model.reach or 6.0
    closest = min(shortest_distances([frame], reach).values(), default=reach)
    end = max(STRETCHED[-1], 1.05 * reach / closest)
    scales = np.append(STRETCHED, np.geomspace(STRETCHED[-1], end, 5)[1:]) if end > STRETCHED[-1] else STRETCHED
    energies = _along(potential, frame, scales)
    lowest, apart = energies[scales <= APART].min(), energies[scales > APART].min()
    found = f"{energies[-1] - energies[0]:+.2f} eV/atom to separate atoms"
    return Limit(f"stretching of {name}", found, bool(apart < lowest - SLACK))


def _unseen(species: Sequence[int], shortest: Mapping[tuple[int, int], float]) -> list[Limit]:
    """Pairs of species that no structure has beside one another: what a model says of them is the repulsion alone."""
    from ase.data import chemical_symbols

    pairs = [pair for pair in combinations_with_replacement(species, 2) if pair not in shortest]
    if not pairs:
        return []
    names = ", ".join("-".join(chemical_symbols[number] for number in pair) for pair in pairs)
    return [Limit(f"neighbours {names}", "in no training structure", True)]


def _atoms(potential: ModelPotential, known: Iterable[int]) -> list[Limit]:
    """Species whose isolated atom nothing is known of."""
    from ase.data import chemical_symbols

    unknown = [chemical_symbols[number] for number in potential.model.species if number not in set(known)]
    if not unknown:
        return []
    found = "energies fitted, not known: give energies_ev or structures with config_type = IsolatedAtom"
    return [Limit(f"isolated atoms of {', '.join(unknown)}", found, True)]
