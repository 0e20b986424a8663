"""Files of a journal on disk: opened by one process at a time, cut without losing what is cut off."""

import logging
import mmap
import os
from pathlib import Path

from ...errors import InputError
from ...forks import close_in_children
from ...locks import try_lock

log = logging.getLogger(__name__)


def open_locked(path: Path, flags: int) -> int:
    """Opens a file, creating it if necessary, and locks it: a second writer would ruin it.

    `InputError` if it cannot be opened, or another process has locked it (a second server, or a second walker of the
    same number).
    """
    file = open_file(path, flags)
    try:
        if not try_lock(file):
            os.close(file)
            raise InputError(
                f"another process writes to {path}, or a bias of this one that was not closed; end or close it, "
                "or name another file"
            )
    except OSError as error:  # some file systems have no locks
        log.warning("%s cannot be locked (%s): make sure that nothing else writes to it", path, error.strerror)
    close_in_children(file)
    return file


def open_file(path: Path, flags: int) -> int:
    """Opens a file, creating it if necessary; `InputError` if that is impossible."""
    try:
        return os.open(path, flags | os.O_CREAT, 0o644)
    except OSError as error:
        remedy = "make its folder" if isinstance(error, FileNotFoundError) else "name another file"
        raise InputError(f"the bias cannot write to {path}: {error.strerror}; {remedy}") from error


def why_no_folder(folder: Path) -> str:
    """Why files cannot be written to a folder, which may have to be created; None if they can."""
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    if not there.is_dir():
        return f"{there} is a file"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"there is no permission to write to {there}"


def check_file(path: Path, key: str) -> None:
    """`InputError`, with the key that names it, if a file of the bias cannot be written."""
    wrong = ""
    if path.is_dir():
        wrong = "this is a folder; name a file"
    elif not path.parent.exists():
        wrong = f"there is no folder {path.parent}; make it, or name another file"
    elif why := why_no_folder(path.parent):
        wrong = f"{why}; name another file"
    elif path.exists() and not os.access(path, os.W_OK):
        wrong = "there is no permission to write to the file; name another one"
    if wrong:
        raise InputError(f"bias: {key} = {str(path)!r}: {wrong}")


def make_folder(folder: Path, key: str) -> None:
    """Creates a folder for files of the bias; `InputError`, with the key that names it, if that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        wrong = why_no_folder(folder) or error.strerror
        raise InputError(f"bias: {key} = {str(folder)!r}: {wrong}; name another folder") from error


def mapped(path: Path) -> mmap.mmap:
    """Maps the file, opened anew: a map keeps a descriptor, and with the locked one, children would keep the lock."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)


def undo(path: Path, size: int) -> None:
    """Cuts a file to `size` bytes; the rest is appended to the file of the same name with the ending `.undone`."""
    with open(path, "rb+") as file:
        file.seek(size)
        behind = file.read()
        if not behind:
            return
        if any(line and not line.startswith(b"#") for line in behind.split(b"\n")):  # more than a header
            with open(f"{path}.undone", "ab") as undone:
                undone.write(behind)
                undone.flush()
                os.fsync(undone.fileno())
        file.truncate(size)
        os.fsync(file.fileno())
    log.info("%s: moved %d bytes of configurations that come again to %s.undone", path, len(behind), path)


def sync_folder(path: Path) -> None:
    """Waits until the directory entry of a new file is on disk."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
