"""How far a simulation is, read from the files that i-PI writes; whether it advances, and how fast."""

import contextlib
import os
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..ipi.input import IpiInput


class StepReader:
    """The last step in i-PI's output: from a properties file with a column `step`, else from its log.

    Reads only the end of the file, so that it costs the same after a week.
    """

    TAIL_BYTES = 8192
    LOG_MARK = "@simulation.run: Average timings at MD step"

    def __init__(self, simulation: "IpiInput", log: Path) -> None:
        candidates = [file for file in simulation.properties if _is_step(file.columns[0] if file.columns else "")]
        self._properties = min(candidates, key=lambda file: file.stride, default=None)
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        # a properties file of an earlier run stays in place until i-PI has moved it away
        self._old = self._identity()

    def read(self) -> int | None:
        """The number of steps done; None as long as nothing is known."""
        return self._from_properties() if self._properties is not None else self._from_log()

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._properties.path) if self._properties else None
        except OSError:
            return None
        return (status.st_ino, status.st_size) if status else None

    def _from_properties(self) -> int | None:
        if self._properties is None or self._identity() in (None, self._old):
            return None
        for line in reversed(_tail(self._properties.path, self.TAIL_BYTES, 0)):
            with contextlib.suppress(ValueError, IndexError, OverflowError):  # a comment, or what it cannot read
                return round(float(line.split()[0]))
        return None

    def _from_log(self) -> int | None:
        for line in reversed(_tail(self._log, self.TAIL_BYTES, self._log_start)):
            with contextlib.suppress(ValueError):
                return int(line.partition(self.LOG_MARK)[2].split(".")[0]) + 1
        return None


def _is_step(column: str) -> bool:
    return column.strip() == "step"


def _tail(path: Path, count: int, start: int) -> list[str]:
    """The complete lines among the last `count` bytes of a file, from `start` on."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = start if start <= size else 0  # somebody has emptied it
            begin = max(start, size - count)
            file.seek(begin)
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return []
    return lines[(begin > start) : -1]


class Patience:
    """Notices when a simulation has not advanced for much longer than its steps usually take."""

    FACTOR = 5.0
    LEAST_SECONDS = 60.0
    FIRST_SECONDS = 300.0
    """The limit for the first step, when nothing is known."""

    def __init__(self) -> None:
        self._step: int | None = None
        self._since = time.monotonic()
        self._intervals: deque[float] = deque(maxlen=20)
        self._limit = self.FIRST_SECONDS

    def see(self, step: int | None) -> bool:
        """Notes where the simulation is; returns whether it has advanced."""
        if step is None or step == self._step:
            return False
        now = time.monotonic()
        if self._step is not None:
            self._intervals.append(now - self._since)
            self._limit = max(self.LEAST_SECONDS, self.FACTOR * max(self._intervals))
        self._step, self._since = step, now
        return True

    def lost(self) -> float | None:
        """How long it has stood still, when that is worth a message: at the limit, and at each doubling of it."""
        waited = time.monotonic() - self._since
        if waited < self._limit:
            return None
        self._limit = 2 * waited
        return waited


class Rate:
    """Steps per second over the last half minute."""

    WINDOW_SECONDS = 30.0

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, step: int) -> None:
        now = time.monotonic()
        if not self._seen or step != self._seen[-1][1]:
            self._seen.append((now, step))
        while len(self._seen) > 2 and now - self._seen[0][0] > self.WINDOW_SECONDS:
            self._seen.popleft()

    def __call__(self) -> float | None:
        if len(self._seen) < 2:
            return None
        (t0, step0), (t1, step1) = self._seen[0], self._seen[-1]
        return (step1 - step0) / (t1 - t0)
