"""One structure in a file: the one for which the neighbour lists of the variables were last built."""

import mmap
import os
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...files import reserve
from ...frame import Frame
from .disk import open_file


class StoredStructure:
    """Positions and cell in a mapped file: they go into the slot that is not current, then one word makes it current.

    `InputError` if the file is that of a system of another size.
    """

    def __init__(self, path: Path, atoms: int) -> None:
        slot = np.dtype([("positions", "f8", (atoms, 3)), ("cell", "f8", (3, 3))])
        size = 8 + 2 * slot.itemsize
        file = open_file(path, os.O_RDWR)
        try:
            if os.fstat(file).st_size not in (0, size):
                raise InputError(f"{path} belongs to a system of another size; remove or rename it")
            reserve(file, size, path)
            self._map = mmap.mmap(file, size)
        finally:
            os.close(file)
        self._current = np.frombuffer(self._map, "i8", 1)  # 0: none yet
        self._slots = np.frombuffer(self._map, slot, 2, offset=8)

    def load(self, like: Frame) -> Frame | None:
        """What was stored, with the species, periodicity and attributes of `like`."""
        if self._current[0] == 0:
            return None
        slot = self._slots[self._current[0] - 1]
        positions, cell = slot["positions"].copy(), slot["cell"].copy()
        return Frame(positions, cell, like.species, like.pbc, attributes=like.attributes)

    def store(self, frame: Frame) -> None:
        """Stores a structure in place of the previous one."""
        free = 2 if self._current[0] == 1 else 1
        self._slots[free - 1]["positions"] = frame.positions
        self._slots[free - 1]["cell"] = frame.cell
        self._current[0] = free

    def close(self) -> None:
        del self._current, self._slots
        self._map.close()
