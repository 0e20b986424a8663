"""Every pair of atoms of one structure, once: for what is looked at once and needs no list that lasts."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..frame import Array, Frame


class Pairs(NamedTuple):
    """Atoms i and j (n,), their distance r (n,) and vector from i to j (n, 3), Angstrom, over all periodic images."""

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    r: Array
    vector: Array


def pairs_within(frame: Frame, cutoff: float, *, each_way: bool = False) -> Pairs:
    """The pairs that are closer than `cutoff` (Angstrom), each once, or from both of its atoms."""
    from vesin import NeighborList

    i, j, r, vector = NeighborList(cutoff=cutoff, full_list=each_way).compute(
        frame.positions, frame.cell, frame.pbc, quantities="ijdD"
    )
    return Pairs(i.astype(np.int64), j.astype(np.int64), r, vector)
