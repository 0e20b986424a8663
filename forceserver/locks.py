"""Locks: one writer per file, one run per folder.

The lock of an open file ends with the last process that has the file open, however that process ends, so on one machine
it proves that the owner lives. Across machines it does not: on some shared file systems it is local to each machine,
others have no locks. A folder is therefore locked by a file that only one process can create, that names its owner, and
that is removed at the end.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import owner_of

FOLDER_LOCK = "launch.lock"
"""Name of the file that locks a folder."""

BEAT_SECONDS = 10.0
"""How often the owner of a folder touches its lock."""

LAST_BREATH_SECONDS = 20.0
"""How long the processes of a killed owner may take to end."""

JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
"""Environment variables in which queue systems name the job."""


def try_lock(file: int) -> bool:
    """Takes the lock of an open file; False if another process has it.

    Raises `OSError` if the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class FolderLock:
    """The lock of a folder, held until it is released.

    descriptor: an open file that keeps the lock alive; processes that must end before others may use the folder inherit
    it.
    after_death: whether the previous owner was killed on this machine.
    """

    def __init__(self, path: Path, descriptor: int, after_death: bool) -> None:
        self.path, self.descriptor, self.after_death = path, descriptor, after_death
        self._beaten = time.monotonic()

    def beat(self) -> None:
        """Shows that the owner is alive; call it often."""
        if time.monotonic() - self._beaten > BEAT_SECONDS:
            self._beaten = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self.descriptor)

    def release(self) -> None:
        """Releases the folder."""
        if same_file(self.descriptor, self.path):
            self.path.unlink()
        os.close(self.descriptor)


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[FolderLock]:
    """Reserves the folder for the caller, among all machines that see it.

    The lock of a provably dead owner is taken over. In all other cases raises `InputError` with what is known about the
    owner, and what to do if it is dead.
    """
    try:
        lock = _acquire(folder / FOLDER_LOCK)
    except OSError as error:
        raise InputError(f"cannot lock {folder}: {error.strerror} ({error.filename})") from error
    try:
        yield lock
    finally:
        lock.release()


def _acquire(path: Path) -> FolderLock:
    while True:
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            with contextlib.suppress(OSError):  # without file locks, the death of this owner cannot be proved
                try_lock(descriptor)
            try:
                _write(descriptor, path)
            except OSError:  # an empty lock would keep everybody out
                path.unlink()
                raise
            return FolderLock(path, descriptor, after_death=False)
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:  # its owner has just released it
            continue
        except PermissionError:
            raise InputError(_explain_foreign(path)) from None
        owner = _read(descriptor)
        if not (_was_on_this_machine(owner) and _locked_in_time(descriptor, owner)):
            message = _explain(path, descriptor, owner)
            os.close(descriptor)
            raise InputError(message)
        if same_file(descriptor, path):
            _write(descriptor, path)
            return FolderLock(path, descriptor, after_death=True)
        os.close(descriptor)


def _write(descriptor: int, path: Path) -> None:
    """Names this process as the owner, or leaves the file as it is and closes it, with an `OSError` that names it."""
    content = (json.dumps({**_here(), "since": time.time()}) + "\n").encode()
    try:
        if os.pwrite(descriptor, content, 0) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, error.strerror, str(path)) from error


def _read(descriptor: int) -> dict[str, Any]:
    """The content of the lock; empty if it cannot be read (its owner may be about to write)."""
    try:
        owner = json.loads(os.pread(descriptor, 1 << 16, 0))
        return {**owner, "pid": int(owner["pid"]), "since": datetime.fromtimestamp(owner["since"])}
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        return {}


def _here() -> dict[str, Any]:
    """This process, and where it runs."""
    job = next((os.environ[name] for name in JOB_VARIABLES if os.environ.get(name)), None)
    return {
        "host": socket.gethostname(),
        "machine": _line("/etc/machine-id"),
        "boot": _line("/proc/sys/kernel/random/boot_id"),
        "pid": os.getpid(),
        "job": job,
    }


def _line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _was_on_this_machine(owner: dict[str, Any]) -> bool:
    """Whether it runs, or ran, on this machine, whose file locks then tell whether it is alive."""
    here = _here()
    if here["boot"] and owner.get("boot") == here["boot"]:
        return True
    return bool(here["machine"]) and all(owner.get(key) == here[key] for key in ("machine", "host"))


def _locked_in_time(descriptor: int, owner: dict[str, Any]) -> bool:
    """Takes the lock of the file; waits for what a dead owner left running."""
    deadline = time.monotonic() + LAST_BREATH_SECONDS
    with contextlib.suppress(OSError):
        while not try_lock(descriptor):
            if _lives(owner) or time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True
    return False


def _lives(owner: dict[str, Any]) -> bool:
    """Whether a process with that number exists here."""
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def same_file(descriptor: int, path: Path) -> bool:
    """Whether the path still refers to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _explain_foreign(path: Path) -> str:
    """Of a lock that another user holds, or has left."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        return f"cannot lock {path.parent}: {error.strerror} ({path})"
    text = _explain(path, descriptor, _read(descriptor))
    os.close(descriptor)
    return f"{text}; {path.name} belongs to the user {owner_of(path)}"


def _explain(path: Path, descriptor: int, owner: dict[str, Any]) -> str:
    if not owner:
        return f"{path.parent} is in use: {path} does not name its owner; if nothing runs there, remove {path}"
    job = f", job {owner['job']}" if owner.get("job") else ""
    silent = max(0.0, time.time() - os.fstat(descriptor).st_mtime)
    text = (
        f"{path.parent} is in use by `launch` on {owner.get('host')} (process {owner['pid']}{job}) "
        f"since {owner['since']:%Y-%m-%d %H:%M:%S}; its last sign of life was {silent:.0f} s ago"
    )
    if _was_on_this_machine(owner):
        if _lives(owner):
            return f"{text}. It is alive: wait for it, or end it"
        with contextlib.suppress(OSError):  # a file system without locks
            if try_lock(descriptor):  # of another user, who alone may take it over
                return f"{text}. It is dead, and so is all that it started: remove {path} and start again"
            return f"{text}. It is dead, but a process that it started is alive: wait for that, or end it"
    return f"{text} (it gives one every {BEAT_SECONDS:.0f} s). If it is dead, remove {path} and start again"
