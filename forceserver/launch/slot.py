"""The place of one driver, or of the CV server: what runs there, what it is doing, how it ended."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import processes
from ..ipi.activity import VARIABLE, Activity, shared_page
from ..locks import FolderLock


class Slot:
    """The place of one driver, filled by one process after another."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen | None = None
        self.started = self.not_before = 0.0
        self.reason: str | None = None
        """How its last process ended."""
        self.crashes = 0
        """Crashes in a row without a single answer."""
        self.activity: Activity | None = None
        self._stopped: float | None = None
        """Since when its process has been seen stopped."""

    def start(
        self, command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str], lock: FolderLock
    ) -> subprocess.Popen:
        """Starts a process in this place."""
        page = shared_page()
        self.activity = Activity(page)
        keep = (page, lock.descriptor)
        try:
            self.process = processes.start(command, folder, log, {**environment, VARIABLE: str(page)}, keep)
        finally:
            os.close(page)
        self.started, self.reason = time.monotonic(), None
        return self.process

    def alive(self) -> bool:
        """Whether its process is running."""
        return self.process is not None and not processes.ended(self.process)

    @property
    def busy_seconds(self) -> float:
        """How long the oldest evaluation in progress has taken so far; 0 if there is none."""
        return self.activity.busy_seconds if self.activity else 0.0

    def silent_seconds(self) -> float:
        """How long it has not answered, in an evaluation or stopped between two of them; call it often."""
        if self.process is None or not processes.is_stopped(self.process):
            self._stopped = None
            return self.busy_seconds
        self._stopped = self._stopped or time.monotonic()
        return max(self.busy_seconds, time.monotonic() - self._stopped)

    @property
    def answers(self) -> int:
        """How many structures the driver has computed."""
        return self.activity.answers if self.activity else 0

    def describe(self) -> str:
        """What the driver is doing, for a message."""
        if self.process is None or not self.alive():
            return f"driver {self.number} is dead"
        if processes.is_stopped(self.process):
            return f"driver {self.number} (process {self.process.pid}) is stopped"
        if busy := self.busy_seconds:
            return f"driver {self.number} (process {self.process.pid}) has computed for {busy:.0f} s"
        if not self.answers:
            age = time.monotonic() - self.started
            return f"driver {self.number} was started {age:.0f} s ago and has not computed yet"
        return f"driver {self.number} has nothing to do"


def driver_environment(environment: Mapping[str, str], drivers: int, threads: int | None) -> dict[str, str]:
    """The environment of a driver: one core for i-PI, the others shared by the drivers, unless the user has set it."""
    if threads is None and "OMP_NUM_THREADS" in environment:
        return dict(environment)
    cores = processes.usable_cores()
    return {**environment, "OMP_NUM_THREADS": str(threads or max(1, (cores - 1) // max(drivers, 1)))}
