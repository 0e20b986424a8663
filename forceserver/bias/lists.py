"""Variables whose values have the same bits after a restart.

Sums over neighbours depend in the last bit on when the neighbour lists were built. So the configuration of the last
build is kept in a file, and the next start builds its lists for that one. All lists are built together.
"""

import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..cv import CollectiveVariable
from ..cv.variable import CVResult
from ..errors import CVError, InputError
from ..files import reserve
from ..frame import Frame


class Variables:
    """Copies of some variables with neighbour lists of their own. path: where the last build is kept; None: nowhere.

    Raises `InputError` if the file is that of a system of another size.
    """

    def __init__(self, variables: Mapping[str, CollectiveVariable], path: Path | None = None) -> None:
        self._originals = dict(variables)
        atoms = next(iter(variables.values())).total_atoms if variables else 0
        self._stored = _Configuration(path, atoms) if path and variables else None
        self._begin()

    def compute(self, frame: Frame) -> dict[str, CVResult]:
        """The variables by name; `CVError` if one cannot be computed."""
        if not self._builds and self._stored and (built := self._stored.load(frame)):
            self._compute(built)
            self._builds = self._count()
        try:
            computed = self._compute(frame)
        except CVError:
            self._begin()  # some lists may have been built, others not
            raise
        builds = self._count()
        if builds != self._builds:
            if self._builds and len(builds) > 1:
                self._begin()
                computed = self._compute(frame)
            if self._stored:
                self._stored.store(frame)
            self._builds = self._count()
        return computed

    def close(self) -> None:
        if self._stored:
            self._stored.close()

    def _begin(self) -> None:
        self._copies = {name: variable.copy() for name, variable in self._originals.items()}
        self._builds: list[int] = []

    def _compute(self, frame: Frame) -> dict[str, CVResult]:
        return {name: variable.compute(frame) for name, variable in self._copies.items()}

    def _count(self) -> list[int]:
        return [n for variable in self._copies.values() for n in variable.builds]


class _Configuration:
    """Positions and cell in a mapped file: they go into the slot that is not current, then one word makes it so."""

    def __init__(self, path: Path, atoms: int) -> None:
        slot = np.dtype([("positions", "f8", (atoms, 3)), ("cell", "f8", (3, 3))])
        size = 8 + 2 * slot.itemsize
        with open(path, "r+b" if path.exists() else "w+b") as file:
            found = file.seek(0, 2)
            if found not in (0, size):
                raise InputError(f"{path} belongs to a system of another size; remove or rename it")
            reserve(file.fileno(), size, path)
            self._map = mmap.mmap(file.fileno(), size)
        self._current = np.frombuffer(self._map, "i8", 1)  # 0: none yet
        self._slots = np.frombuffer(self._map, slot, 2, offset=8)

    def load(self, like: Frame) -> Frame | None:
        """What was stored, with the species and periodicity of `like`."""
        if self._current[0] == 0:
            return None
        slot = self._slots[self._current[0] - 1]
        return Frame(slot["positions"].copy(), slot["cell"].copy(), like.species, like.pbc)

    def store(self, frame: Frame) -> None:
        free = 2 if self._current[0] == 1 else 1
        self._slots[free - 1]["positions"] = frame.positions
        self._slots[free - 1]["cell"] = frame.cell
        self._current[0] = free

    def close(self) -> None:
        self._current = self._slots = None
        self._map.close()
