"""Child processes that cannot outlive this one, and whose own children cannot outlive them."""

import contextlib
import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import InputError
from .sockets import prepare_tcp

PR_SET_PDEATHSIG = 1  # linux/prctl.h
SYS_PIDFD_GETFD = 438  # linux/unistd.h, the same on every architecture
FORCESERVER = (
    sys.executable,
    "-c",
    "import sys; sys.path[0] or sys.path.append(sys.path.pop(0)); from forceserver.cli import main; main()"
    "  # forceserver",  # for those who read lists of processes
)
"""This program as a child. `-m` would import from the working directory first, and find a user's random.py or types.py
in place of Python's; with this, the working directory comes last."""

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def start(
    command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str], keep: Sequence[int] = ()
) -> subprocess.Popen:
    """Starts a command as leader of its own process group, with its output appended to `log`.

    On Linux the kernel sends it SIGTERM when this process dies, however that happens, if the thread that calls is the
    main thread: it is the death of this thread that counts.

    keep: descriptors that it inherits.
    """
    parent = os.getpid() if threading.current_thread() is threading.main_thread() else None

    def tie_to_parent() -> None:
        if _libc is not None and parent is not None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:  # it died before the call
                os.kill(os.getpid(), signal.SIGTERM)

    with open(log, "ab") as file:
        return spawn(
            command,
            cwd=folder,
            env={**environment, "PYTHONIOENCODING": "utf-8"},  # i-PI dies of a folder that it cannot print
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep,
            preexec_fn=tie_to_parent,
        )


def spawn(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """A child process, with the options of `Popen`; `InputError` where the system allows no more of them."""
    try:
        return subprocess.Popen(list(command), **options)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.ENOMEM):
            raise
        raise InputError(f"the system starts no more processes (ulimit -u, memory): {error.strerror}") from error


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ended(process: subprocess.Popen) -> bool:
    """Whether a process has ended. If so, the rest of its group is killed before its number can be reused."""
    if process.returncode is not None:
        return True
    if not hasattr(os, "waitid"):  # macOS before 13
        if process.poll() is None:
            return False
    elif os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return False
    _signal_group(process, signal.SIGKILL)
    process.wait()
    return True


def wait(processes: Iterable[subprocess.Popen], seconds: float) -> bool:
    """Waits until all have ended, but no longer than this; returns whether they have."""
    deadline = time.monotonic() + seconds
    left = [process for process in processes if not ended(process)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [process for process in left if not ended(process)]
    return not left


def tell_to_end(process: subprocess.Popen) -> None:
    """SIGTERM to the group of a process, unless it has ended; one that is stopped goes on, to hear of it."""
    if not ended(process):
        _signal_group(process, signal.SIGTERM)
        _signal_group(process, signal.SIGCONT)


def end(processes: Iterable[subprocess.Popen], grace_seconds: float) -> None:
    """SIGTERM to the process groups, SIGKILL to those still alive after the grace; returns when all are gone."""
    living = [process for process in processes if not ended(process)]
    for process in living:
        tell_to_end(process)
    if not wait(living, grace_seconds):
        kill(living)


def kill(processes: Iterable[subprocess.Popen]) -> None:
    """SIGKILL to the process groups; returns when all are gone."""
    for process in [process for process in processes if not ended(process)]:
        _signal_group(process, signal.SIGKILL)
        while not ended(process):
            time.sleep(0.005)


def _signal_group(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: of a group of zombies
        os.killpg(process.pid, number)


def hang_up(process: subprocess.Popen) -> None:
    """Ends all connections of a child process, as if their other ends had closed them."""
    for connection in _connections(process):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def bound_silence(process: subprocess.Popen) -> None:
    """Has the system end TCP connections of a child whose other ends have vanished (`sockets.GONE_SECONDS`)."""
    for connection in _connections(process):
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):
                prepare_tcp(connection)


def _connections(process: subprocess.Popen) -> Iterator[socket.socket]:
    """Copies of the connected sockets of a child process.

    Linux gives them to the parent (since 5.6, unless a sandbox forbids it); nothing elsewhere.
    """
    if _libc is None or not hasattr(os, "pidfd_open"):
        return
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:  # an error if it has ended
        pidfd = os.pidfd_open(process.pid)
        stack.callback(os.close, pidfd)
        for number in os.listdir(f"/proc/{process.pid}/fd"):
            if os.readlink(f"/proc/{process.pid}/fd/{number}").startswith("socket:"):
                copy = _libc.syscall(SYS_PIDFD_GETFD, pidfd, int(number), 0)
                if copy >= 0:
                    yield from _if_connected(copy)


def _if_connected(descriptor: int) -> Iterator[socket.socket]:
    with socket.socket(fileno=descriptor) as connection, contextlib.suppress(OSError):
        connection.getpeername()  # a listening socket has no peer
        yield connection


def is_stopped(process: subprocess.Popen) -> bool:
    """Whether a signal (SIGSTOP, Ctrl-Z, a debugger) has stopped a process; False where that is unknown."""
    try:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state in "Tt"


def describe_end(code: int) -> str:
    """How a process ended, in words: its exit code, or the signal that ended it."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"signal {name}{', usually a full disk or /dev/shm' if name == 'SIGBUS' else ''}"


@contextlib.contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Signals that request an end are put into a list instead of ending this process; `nohup` keeps its meaning."""
    noted: list[int] = []
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, frame: noted.append(number)) for number in numbers}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
