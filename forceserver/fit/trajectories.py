"""Whether structures follow one another in time.

Frames of molecular dynamics that are a few femtoseconds apart are nearly copies: of a frame that is left out, a fit
knows the two beside it. Cross-validation then finds errors that are too small, and so are sigmas and uncertainties.
"""

from collections.abc import Sequence

import numpy as np

from ..frame import Frame
from .data import Labelled

LATER = 8
"""How many structures later is the one with which the next one is compared."""
NEAR = 0.5
"""The distance of the next structure, in units of that one's. Independent structures have 1, uniform motion 1/8."""


def follow_in_time(train: Sequence[Labelled]) -> bool:
    """Whether structures, in the order of the file, are much closer to the next one than to a later one."""
    frames = [one.frame for one in train]
    ratios = [
        _distance(frame, after) / far
        for frame, after, later in zip(frames, frames[1:], frames[LATER:], strict=False)
        if 0 < (far := _distance(frame, later)) < np.inf
    ]
    return len(ratios) > len(train) / 2 and float(np.median(ratios)) < NEAR


def _distance(first: Frame, second: Frame) -> float:
    """Root mean square displacement of atoms in units of the cell (Angstrom); infinite for other atoms."""
    if not np.array_equal(first.species, second.species) or not np.array_equal(first.pbc, second.pbc):
        return np.inf
    if first.pbc.all():
        moved = second.positions @ np.linalg.inv(second.cell) - first.positions @ np.linalg.inv(first.cell)
        moved = (moved - np.round(moved)) @ first.cell
    else:
        moved = second.positions - first.positions
    return float(np.sqrt(((moved - moved.mean(axis=0)) ** 2).sum(axis=1).mean()))
