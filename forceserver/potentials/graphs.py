"""The graph of a batch of structures, as networks read it: all pairs closer than a cutoff, over all structures.

Each place in the batch keeps its neighbour list, with a skin, so that a step costs a pass over the listed pairs. The
pairs that are in the skin only are left out: the model gets the same pairs as from a list made anew.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..frame import Array
from ..representation.neighbours import NeighbourList
from .base import SKIN


class Edges(NamedTuple):
    """The E pairs of a batch, both ways.

    pairs: (2, E) int64, atoms i and j, counted over the whole batch.
    shifts: (E, 3) float64, whole numbers n with r_ij = r_j + n h - r_i, h the cell of the structure (rows).
    counts: (S,) int64, pairs of each of the S structures; they come in the order of the structures.
    """

    pairs: NDArray[np.int64]
    shifts: Array
    counts: NDArray[np.int64]


class Graphs:
    """Neighbour lists of the structures of a batch, kept from call to call.

    The arrays of `edges` are overwritten by its next call.

    Args:
        cutoff: pairs closer than this, Angstrom.
        skin: how far the kept lists reach beyond the cutoff, Angstrom.
    """

    def __init__(self, cutoff: float) -> None:
        self.cutoff = float(cutoff)
        self._lists: dict[int, NeighbourList] = {}
        self._pairs = np.empty((2, 0), dtype=np.int64)
        self._shifts = np.empty((0, 3))

    def edges(self, positions: Array, cells: Array, pbc: NDArray[np.bool_], first: NDArray, place: int = 0) -> Edges:
        """The pairs of S structures with N atoms in all.

        Args:
            positions: (N, 3), Angstrom; atoms may lie outside the cells.
            cells: (S, 3, 3), vectors as rows, Angstrom; ignored along directions that are not periodic.
            pbc: (3,) periodic directions, of all structures.
            first: (S + 1,) the atoms of structure s are first[s] .. first[s + 1] - 1.
            place: place of the first structure in the batch, if this is only a part of it.

        Returns:
            The pairs.

        Raises:
            ValueError: positions are not finite, or a periodic cell is singular.
        """
        atoms = np.asarray(first).tolist()
        lists = [self._list(place + s, atoms[s + 1] - atoms[s], pbc) for s in range(len(cells))]
        for s, pairs in enumerate(lists):
            pairs.update(positions[atoms[s] : atoms[s + 1]], cells[s])
        self._make_room(sum(map(len, lists)))
        ends = [0]
        for begin, pairs in zip(atoms, lists, strict=False):
            ends.append(pairs.write_edges(self._pairs, self._shifts, begin, ends[-1]))
        return Edges(self._pairs[:, : ends[-1]], self._shifts[: ends[-1]], np.diff(ends))

    def _list(self, place: int, atoms: int, pbc: NDArray[np.bool_]) -> NeighbourList:
        kept = self._lists.get(place)
        if kept is None or len(kept.species) != atoms or kept.pbc.tobytes() != pbc.tobytes():
            kept = NeighbourList(np.zeros(atoms, dtype=np.int32), self.cutoff, pbc=pbc, skin=SKIN)
            self._lists[place] = kept
        return kept

    def _make_room(self, pairs: int) -> None:
        if pairs > len(self._shifts):  # a tenth more: the number changes whenever a list is built
            self._pairs, self._shifts = np.empty((2, pairs * 11 // 10), dtype=np.int64), np.empty((pairs * 11 // 10, 3))
