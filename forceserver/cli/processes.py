"""Child processes that cannot outlive this one."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def start(command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]) -> subprocess.Popen:
    """Starts a command as leader of its own process group, with its output appended to `log`.

    On Linux the kernel sends it SIGTERM when this process dies, however that happens (the thread that calls must be
    the main thread, because that is the one whose death counts).
    """
    parent = os.getpid()

    def tie_to_parent() -> None:
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:  # it died before the call
                os.kill(os.getpid(), signal.SIGTERM)

    with open(log, "ab") as file:
        return subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=tie_to_parent,
        )


def end(processes: Iterable[subprocess.Popen], grace_seconds: float) -> None:
    """SIGTERM to the process groups, SIGKILL to those that still live after the grace; returns when all are gone."""
    living = [process for process in processes if process.poll() is None]
    for process in living:
        _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    for process in living:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait()


def _signal_group(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def describe_end(code: int) -> str:
    """How a process ended, in words: its exit code, or the signal that ended it."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
