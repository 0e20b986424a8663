"""Files that are either complete or absent; working in another directory for a while."""

import errno
import glob
import json
import math
import os
import pwd
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError

OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""What happens to a file that Python does not name."""


def check_distinct(paths: Sequence[Path]) -> None:
    """`InputError` if a file is given twice, by whatever name: its data would count twice."""
    first: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in first:
            raise InputError(f"{path} is given twice (as {first[path.resolve()]} before)")
        first[path.resolve()] = path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; on leaving, the file is flushed to disk and renamed to `path`.

    If the body raises, what it wrote is removed and `path` stays as it was. The suffix is kept, for writers that depend
    on it. An `OSError` that names no file, or the temporary one, is made to name `path`.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        if error.filename == str(part) or (error.filename is None and error.errno in OF_THE_DISK):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def remove_parts(path: Path) -> None:
    """Removes what writers of `path` left behind that were killed, if nobody else writes it now."""
    for part in path.parent.glob(f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"):
        part.unlink(missing_ok=True)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Changes the working directory for a while, for code that looks for its files there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def owner_of(path: Path) -> str | None:
    """The name of the user who owns the file; None if that is this user, or unknown."""
    try:
        user = path.lstat().st_uid
    except OSError:
        return None
    if user == os.geteuid():
        return None
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # of a container, or of a server of users that does not answer
        return str(user)


def reserve(descriptor: int, size: int, path: Path) -> None:
    """Reserves disk space for an open file, so that writing to it through memory cannot fail.

    A process that writes to a page for which the disk has no space is killed (SIGBUS). Raises `InputError` if there is
    not enough space, before anything is written.
    """
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        elif os.fstat(descriptor).st_size < size:  # macOS
            os.ftruncate(descriptor, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{path} needs {size / 1e6:.3g} MB, {error.strerror}; make room and start again") from error


def why_full(folder: Path) -> str | None:
    """Why nothing (256 kB) can be written there: a full disk, a quota; None if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            for _ in range(64):
                file.write(bytes(4096))
    except OSError as error:
        return error.strerror
    return None


def append(descriptor: int, path: Path, data: bytes, durable: bool = False) -> None:
    """Appends all of `data` to an open file, or nothing; an `OSError` names the file.

    durable: waits until it is on disk.
    """
    size = os.fstat(descriptor).st_size
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if durable:
            os.fsync(descriptor)
    except OSError as error:
        os.ftruncate(descriptor, size)  # the next line must not follow half a line, or one that may be lost
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as JSON; numbers that are not finite, which JSON does not have, become null."""
    with atomic_write(path) as part:
        part.write_text(json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n")


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
