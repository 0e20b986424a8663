"""Numbers of POSDATA as frames."""

import numpy as np
from ase.units import Bohr

from ... import _ext
from ...frame import Frame
from ..checks import check_cells, check_positions
from .layout import MessageLayout, StructureNumbers

_scale = _ext.kernel("atomic_units").scale


class IncomingFrames:
    """The frames of a client, converted from the numbers of each POSDATA.

    `frames`, one per structure, are made once. From a stream their positions are the numbers in the inbox, converted
    where they lie; from shared memory, which belongs to the server, they are copies.
    """

    _numbers: StructureNumbers

    def __init__(self, template: Frame, layout: MessageLayout) -> None:
        self._pbc = template.pbc
        self._several = layout.batch > 1
        self._in_place = not layout.shared_memory
        self.attached = False  # whether the place of the numbers is known
        self._positions = np.empty((layout.batch, layout.atoms, 3))
        self._cells = np.zeros((layout.batch, 3, 3))
        self._cells_seen = b""
        self.frames = [
            Frame(positions, cell, template.species, template.pbc, attributes=template.attributes)
            for positions, cell in zip(self._positions, self._cells, strict=True)
        ]

    def attach(self, numbers: StructureNumbers) -> None:
        """Sets where the numbers are from now on."""
        self.attached = True
        self._numbers = numbers
        self._cells_as_rows = numbers.cells.transpose(0, 2, 1)
        if self._in_place:
            self._positions = numbers.positions
            for frame, positions in zip(self.frames, self._positions, strict=True):
                frame.positions = positions

    def detach(self) -> None:
        """Forgets where the numbers were."""
        self.attached = False
        del self._numbers, self._cells_as_rows

    def take(self) -> list[Frame]:
        """The frames of the POSDATA that was received, minus repetitions at the end.

        Raises `ProtocolError` for positions or cells that are not finite, and for cells that are singular.
        """
        numbers = self._numbers
        if not _scale(numbers.positions, self._positions, Bohr):
            check_positions(self._positions)
        raw = numbers.raw_cells.tobytes()
        if raw != self._cells_seen:  # else the same cell as before: nothing to convert or to check
            np.multiply(self._cells_as_rows, Bohr, out=self._cells)
            check_cells(self._cells, self._pbc)
            self._cells_seen = raw
        return self.frames[: self._count_distinct()] if self._several else self.frames

    def _count_distinct(self) -> int:
        """The number of structures, minus repetitions at the end."""
        count, positions, cells = len(self.frames), self._positions, self._cells
        while count > 1:
            last, before = positions[count - 1], positions[count - 2]
            same = (
                last[0, 0] == before[0, 0] and (last == before).all() and (cells[count - 1] == cells[count - 2]).all()
            )
            if not same:
                break
            count -= 1
        return count
