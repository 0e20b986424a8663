"""Structures that are in the data more than once."""

from collections import defaultdict
from collections.abc import Sequence

from .data import Labelled

SAME_PER_ATOM = 1e-4
"""eV by which the energies of one structure may differ, per atom: more than the noise of a calculation."""


def copies(train: Sequence[Labelled]) -> list[str]:
    """What people should know about structures that occur more than once, with the same numbers.

    Returns:
        No lines, or one about their number, and one about the largest difference of their energies if it is more than
        noise.
    """
    places: dict[tuple, list[Labelled]] = defaultdict(list)
    for one in train:
        frame = one.frame
        key = tuple(array.tobytes() for array in (frame.species, frame.positions, frame.cell, frame.pbc))
        places[key].append(one)
    repeated = [same for same in places.values() if len(same) > 1]
    if not repeated:
        return []
    first, count = repeated[0], sum(len(same) - 1 for same in repeated)
    told = [
        f"{count} of {len(train)} structures are copies of others ({first[1].name} of {first[0].name}): each counts, "
        "and what cross-validation leaves out is known to it; its errors are too small"
    ]
    energies = [(same, [one.energy for one in same if one.energy is not None]) for same in repeated]
    spreads = [((max(found) - min(found)) / len(same[0].frame), same) for same, found in energies if found]
    spread, same = max(spreads, key=lambda entry: entry[0], default=(0.0, first))
    if spread > SAME_PER_ATOM:
        told.append(
            f"{same[0].name} and its copies have energies that differ by {1e3 * spread:.3g} meV/atom: only one of them "
            "can be right"
        )
    return told
