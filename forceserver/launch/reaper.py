"""Ends what a killed `launch` leaves behind.

The kernel tells i-PI and the drivers that `launch` has died (processes.py), but not their children, and a driver that
hangs in an evaluation does not listen. So a second, tiny process keeps the list of process groups. It sleeps until
`launch` dies, lets i-PI write its RESTART, and ends all groups. This file is both sides; as a program it needs nothing
but the standard library.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

RESTART_SECONDS = 2.0
"""i-PI sees a signal within a second and ends at once, unless it waits for a driver that is computing."""

FAREWELL_SECONDS = 2.0
"""How long drivers may take to end by themselves."""

GRACE_SECONDS = 10.0
"""How long i-PI may take to write its RESTART."""


class Reaper:
    """The process that ends what is left, while the context lasts.

    keep: descriptors of files that stay open until nothing is left.
    """

    def __init__(self, keep: Sequence[int] = ()) -> None:
        self._keep = keep

    def __enter__(self) -> "Reaper":
        from ..processes import spawn  # here: this file also runs as a program, without the package

        self._process = spawn(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a signal to the group of `launch` must not end its reaper first
            pass_fds=self._keep,
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        return self

    def adopt(self, group: int) -> None:
        """Adds a process group to be ended if `launch` dies; the first must be i-PI's."""
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """Removes a group that has ended."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it was killed: the kernel's signal is left
            self._pipe.write(line.encode())
            self._pipe.flush()

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.wait()


def reap() -> None:
    """The reaper: reads groups until `launch` closes the pipe, and ends those that were not removed."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # a queue system signals all processes of a job
        signal.signal(number, signal.SIG_IGN)
    groups: list[int] = []
    for line in sys.stdin.buffer:
        group = int(line[1:])
        if line.startswith(b"+"):
            groups.append(group)
        elif group in groups:
            groups.remove(group)
    if not groups:
        return
    if sys.platform != "linux":  # on Linux the kernel has told it; a second signal would keep i-PI from writing RESTART
        _signal(groups[0], signal.SIGTERM)
    for group in groups:
        _signal(group, signal.SIGCONT)  # what is stopped would not hear of it
    _wait(groups, RESTART_SECONDS)
    ipi, drivers = groups[:1], groups[1:]
    for group in drivers:
        _signal(group, signal.SIGTERM)
    _wait(drivers, FAREWELL_SECONDS)
    for group in drivers:
        _signal(group, signal.SIGKILL)
    _wait(ipi, GRACE_SECONDS)
    _signal(ipi[0], signal.SIGKILL)


def _wait(groups: list[int], seconds: float) -> None:
    """Waits until the groups are empty, but no longer than this."""
    deadline = time.monotonic() + seconds
    while any(_signal(group, 0) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)


def _signal(group: int, number: int) -> bool:
    """Whether the group exists."""
    try:
        os.killpg(group, number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    reap()
