"""Processes, as /proc shows them."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from subprocess import Popen


def read(pid: int) -> tuple[str, int] | None:
    """State and parent of a process; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, parent, *_ = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return state, int(parent)


def alive(pid: int) -> bool:
    found = read(pid)
    return found is not None and found[0] != "Z"


def children(pid: int) -> dict[int, str]:
    """Process ids and command lines of the living children of a process."""
    found = {}
    for entry in map(int, filter(str.isdigit, os.listdir("/proc"))):
        status = read(entry)
        if status is not None and status[0] != "Z" and status[1] == pid:
            try:
                with open(f"/proc/{entry}/cmdline") as file:
                    found[entry] = file.read().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def descendants(pid: int) -> dict[int, str]:
    """Those of the children, too."""
    found = children(pid)
    for child in list(found):
        found |= descendants(child)
    return found


def kill_family(process: Popen) -> None:
    """Ends a process that still runs with all that it has started, sessions of their own, too, and closes its pipes."""
    if process.poll() is None:
        for pid in [process.pid, *(descendants(process.pid) if os.path.isdir("/proc/self") else ())]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
