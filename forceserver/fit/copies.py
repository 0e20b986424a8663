"""Structures that are in the data more than once, and energies that are not of one reference."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from ..frame import Array
from .data import Labelled

SAME_PER_ATOM = 1e-4
"""eV by which the energies of one structure may differ, per atom: more than the noise of a calculation."""
NO_BOND = 100.0
"""eV per atom, by which energies of one composition differ only where they are not of one reference."""
SAME_FORCE = 1e-2
"""eV/Angstrom by which the components of its forces may."""


def copies(train: Sequence[Labelled]) -> list[str]:
    """What people should know about structures that occur more than once, with the same numbers.

    Returns:
        No lines, or one about their number, and one each about the largest difference of their energies and of their
        forces if it is more than noise.
    """
    places: dict[tuple, list[Labelled]] = defaultdict(list)
    for one in train:
        places[_numbers(one)].append(one)
    repeated = [same for same in places.values() if len(same) > 1]
    if not repeated:
        return []
    first, count = repeated[0], sum(len(same) - 1 for same in repeated)
    told = [
        f"{count} of {len(train)} structures are copies of others ({first[1].name} of {first[0].name}): each counts, "
        "and what cross-validation leaves out is known to it; its errors are too small"
    ]
    energy, same = _most_different(repeated, lambda one: None if one.energy is None else one.energy / len(one.frame))
    if energy > SAME_PER_ATOM:
        told.append(
            f"{same.name} and its copies have energies that differ by {1e3 * energy:.3g} meV/atom: only one of them "
            "can be right"
        )
    force, same = _most_different(repeated, lambda one: one.forces)
    if force > SAME_FORCE:
        told.append(
            f"{same.name} and its copies have forces that differ by {force:.3g} eV/Angstrom: only one of them can be "
            "right"
        )
    return told


def known_to_training(train: Sequence[Labelled], test: Sequence[Labelled]) -> list[str]:
    """A line if structures of the test set are also in the training set."""
    known = {_numbers(one) for one in train}
    count = sum(_numbers(one) in known for one in test)
    if not count:
        return []
    return [f"{count} of {len(test)} test structures are training structures, too: their errors are those of training"]


def _numbers(one: Labelled) -> tuple[bytes, ...]:
    """What copies of a structure have in common."""
    frame = one.frame
    return tuple(array.tobytes() for array in (frame.species, frame.positions, frame.cell, frame.pbc))


def references(train: Sequence[Labelled]) -> list[str]:
    """A line if structures of one composition have energies that no bonds explain: of two programs or references."""
    found: dict[tuple, list[tuple[float, Labelled]]] = defaultdict(list)
    for one in train:
        if one.energy is not None and not one.isolated:
            species, counts = np.unique(one.frame.species, return_counts=True)
            composition = (*species.tolist(), *(counts // np.gcd.reduce(counts)).tolist())
            found[composition].append((one.energy / len(one.frame), one))
    for same in found.values():
        (lowest, first), (highest, last) = (pick(same, key=lambda entry: entry[0]) for pick in (min, max))
        if highest - lowest > NO_BOND:
            return [
                f"{first.name} has {lowest:.6g} eV/atom, {last.name} of the same composition {highest:.6g}: are these "
                "energies of one reference (total energies, or relative to atoms), and in eV?"
            ]
    return []


def _most_different(
    repeated: Sequence[Sequence[Labelled]], label: Callable[[Labelled], Array | float | None]
) -> tuple[float, Labelled]:
    """The largest difference of a label between copies, and the first of these."""
    found = [(0.0, repeated[0][0])]
    for same in repeated:
        labels = [np.asarray(value) for one in same if (value := label(one)) is not None]
        if len(labels) > 1:
            found.append((float(np.ptp(np.stack(labels), axis=0).max()), same[0]))
    return max(found, key=lambda entry: entry[0])
