"""All pairs of atoms of one structure, for a single use that needs no persistent list."""

import sys
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..frame import Array, Frame

OF_TENSORS = ("torch", "cupy")
"""What vesin imports wherever it is installed, to take tensors, too."""


class Pairs(NamedTuple):
    """Atoms i and j (n,), their distance r (n,) and vector from i to j (n, 3), Angstrom, over all periodic images."""

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    r: Array
    vector: Array


def pairs_within(frame: Frame, cutoff: float, *, each_way: bool = False) -> Pairs:
    """The pairs that are closer than `cutoff` (Angstrom), each once, or from both of its atoms."""
    i, j, r, vector = vesin_list(cutoff=cutoff, full_list=each_way).compute(
        frame.positions, frame.cell, frame.pbc, quantities="ijdD"
    )
    return Pairs(i.astype(np.int64), j.astype(np.int64), r, vector)


def vesin_list(**options: Any) -> Any:
    """A `vesin.NeighborList` of arrays."""
    return _vesin_of_arrays()(**options)


@cache
def _vesin_of_arrays() -> type:
    """The class, imported without torch: that would take every driver seconds and 200 MB, for arrays that have none.

    This vesin is kept apart, so that models of metatomic import one that knows tensors.
    """
    if "vesin" in sys.modules or "torch" in sys.modules:
        from vesin import NeighborList

        return NeighborList
    hidden = [name for name in OF_TENSORS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: an ImportError
    try:
        from vesin import NeighborList
    finally:
        for name in [*hidden, *(name for name in sys.modules if name.partition(".")[0] == "vesin")]:
            del sys.modules[name]
    return NeighborList
