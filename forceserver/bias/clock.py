"""The clock of a bias, which survives the program.

Its file is one JSON object of fixed length that is overwritten in place by a single system call at every tick: a
process that is killed leaves the old state or the new one. It is not synchronised to disk at every tick (hills are);
after a power failure the clock goes on from the last hill.
"""

import json
import logging
import os
from pathlib import Path

import numpy as np

from ..frame import Array

log = logging.getLogger(__name__)

_LENGTH = 1024


class Clock:
    """step: number of the current configuration, -1 before the first. values: its CVs. key: its fingerprint.

    hills: how many hills this walker's file held when the step began. work: of the moving restraints so far, eV.
    """

    def __init__(self, path: Path | None, works: int = 0) -> None:
        self.step = -1
        self.values: Array | None = None
        self.key = ""
        self.hills = 0
        self.work = [0.0] * works
        self._file = None
        if path is not None:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            self._load(path)

    def is_current(self, values: Array, key: bytes | None) -> bool:
        """Whether this is the configuration of the current step."""
        return self.key == _fingerprint(values, key)

    def tick(self, values: Array, key: bytes | None, hills: int, work: list[float]) -> None:
        """Goes on by one step."""
        self.set(self.step + 1, values, key, hills, work)

    def set(self, step: int, values: Array, key: bytes | None, hills: int, work: list[float]) -> None:
        """Sets the clock, and its file."""
        self.step, self.values, self.key = step, values.copy(), _fingerprint(values, key)
        self.hills, self.work = hills, work
        if self._file is not None:
            state = {"step": step, "values": values.tolist(), "key": self.key, "hills": hills, "work": work}
            os.pwrite(self._file, json.dumps(state).ljust(_LENGTH - 1).encode() + b"\n", 0)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _load(self, path: Path) -> None:
        data = os.pread(self._file, _LENGTH, 0)
        if not data:
            return
        try:
            state = json.loads(data)
            self.step, self.key, self.hills = state["step"], state["key"], state["hills"]
            self.values = np.array(state["values"], dtype=np.float64)
            self.work = state["work"] if len(state["work"]) == len(self.work) else self.work
        except (ValueError, KeyError, TypeError):
            log.warning("%s cannot be read (a power failure?); the clock goes on from the last hill", path)


def _fingerprint(values: Array, key: bytes | None) -> str:
    return (values.tobytes() if key is None else key).hex()
