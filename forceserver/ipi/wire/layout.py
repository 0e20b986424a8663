"""Where the counts and the numbers of POSDATA and FORCEREADY are: single structures, batches, shared memory.

A single structure has its cell before the number of atoms, a batch after it; with shared memory only the number of
atoms and the extras are in the stream. docs/protocol.md shows the bytes. Everything here is in the units of the wire.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...frame import Array
from .messages import HEADER_BYTES


@dataclass(frozen=True, slots=True)
class StructureNumbers:
    """Structures as they are on the wire. A cell has its vectors as columns."""

    positions: Array  # (batch, atoms, 3), bohr
    cells: Array  # (batch, 3, 3), bohr
    inverses: Array  # (batch, 3, 3), 1/bohr
    raw_cells: memoryview  # the bytes of the cells, with or without those of the inverses


@dataclass(frozen=True, slots=True)
class ResultNumbers:
    """Results as they are on the wire."""

    energies: Array  # (batch,), hartree; unaligned in a stream
    forces: Array  # (batch, atoms, 3), hartree/bohr
    virials: Array  # (batch, 3, 3), hartree


class MessageLayout:
    """The layout of both messages for one number of atoms and one batch size.

    posdata_bytes: length of POSDATA, without the names of segments.
    posdata_count_at: offset of the number of atoms.
    forceready_bytes: length of FORCEREADY up to the extras.
    forceready_count_at: offset of the number of atoms; unused with shared memory.
    """

    def __init__(self, atoms: int, batch: int, shared_memory: bool) -> None:
        self.atoms, self.batch, self.shared_memory = atoms, batch, shared_memory
        if shared_memory:
            self.posdata_bytes, self.posdata_count_at, self.forceready_bytes = 16, 12, HEADER_BYTES
        else:
            self.posdata_bytes = 16 + batch * (144 + 24 * atoms)
            self.posdata_count_at = 156 if batch == 1 else 12
            self.forceready_bytes = 16 + batch * (80 + 24 * atoms)
            self.forceready_count_at = 12 + 8 * batch

    def structures_in(self, posdata: NDArray[np.uint8]) -> StructureNumbers:
        """Views of the numbers in a POSDATA of a stream."""
        atoms, batch = self.atoms, self.batch
        cells_at = 12 if batch == 1 else 16
        cells = _reals(posdata, cells_at, batch, 2, 3, 3)
        raw = memoryview(posdata)[cells_at : cells_at + 144 * batch]
        return StructureNumbers(_reals(posdata, 16 + 144 * batch, batch, atoms, 3), cells[:, 0], cells[:, 1], raw)

    def results_in(self, forceready: NDArray[np.uint8]) -> ResultNumbers:
        """Views of the numbers in a FORCEREADY of a stream."""
        atoms, batch = self.atoms, self.batch
        forces_at = 16 + 8 * batch
        return ResultNumbers(
            _reals(forceready, 12, batch),
            _reals(forceready, forces_at, batch, atoms, 3),
            _reals(forceready, forces_at + 24 * atoms * batch, batch, 3, 3),
        )


def _reals(buffer: NDArray[np.uint8], offset: int, *shape: int) -> Array:
    return buffer[offset : offset + 8 * math.prod(shape)].view(np.float64).reshape(shape)


def segment_shapes(atoms: int, batch: int) -> tuple[tuple[int, ...], ...]:
    """Shapes (float64) of the six shared-memory segments in the order of `SEGMENT_KINDS`."""
    return (batch, atoms, 3), (batch, 3, 3), (batch, 3, 3), (batch,), (batch, atoms, 3), (batch, 3, 3)


def in_segments(segments: Sequence[Array]) -> tuple[StructureNumbers, ResultNumbers]:
    """The numbers in six shared-memory arrays of `segment_shapes`."""
    positions, cells, inverses, *results = segments
    return StructureNumbers(positions, cells, inverses, memoryview(cells).cast("B")), ResultNumbers(*results)
