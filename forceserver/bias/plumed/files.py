"""The files that PLUMED writes, as part of the journal, which records their lengths after each step.

A start cuts off the excess, which is the update of an unanswered step.
"""

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...forks import no_longer
from ..journal import RecentSteps
from ..journal.disk import open_locked, undo

MOST_FILES = 32
"""How many files can be recorded."""

NO_WARNINGS = (
    "RESTART from KERNELS might be approximate",  # not where PLUMED's files are kept in step with it
    "documentation for",
)
"""How warnings in PLUMED's log begin that concern nobody here."""

FIELDS = [("sizes", "i8", (MOST_FILES,))]
"""What a record says of them."""


class PlumedFiles:
    """The files of one plumed.dat by their names relative to a folder, which are kept beside the records of `steps`.

    rewritten: those that PLUMED rewrites from time to time: their lengths mean nothing, and they are left alone.
    """

    def __init__(self, steps: RecentSteps, folder: Path, rewritten: Set[Path]) -> None:
        self._steps, self._folder, self._rewritten = steps, folder.absolute(), rewritten
        self._paths: list[Path] = []
        self._locks: dict[tuple[int, int], int] = {}  # descriptors by device and inode

    def lock(self, files: Iterable[Path]) -> None:
        """Locks the existing ones of these files; `InputError` if another process writes to one of them.

        PLUMED would rename what it finds, and the other process would go on writing to the renamed file.
        """
        for file in files:
            if not file.is_file():
                continue
            found = file.stat()
            if (found.st_dev, found.st_ino) not in self._locks:
                self._locks[found.st_dev, found.st_ino] = open_locked(file, os.O_RDONLY)

    @property
    def _names(self) -> list[str]:
        return json.loads(self._steps.note or "[]")

    def add(self, files: Set[Path], source: Path) -> None:
        """Keeps the names of further files, in the order of their sizes; `source`: the input that makes them."""
        names = self._names
        names += sorted({os.path.relpath(file, self._folder) for file in files - self._rewritten} - set(names))
        if len(names) > MOST_FILES:
            raise InputError(f"{source} writes more than {MOST_FILES} files: {', '.join(names)}")
        self._steps.note = json.dumps(names)
        self._paths = [self._folder / name for name in names]

    def empty(self) -> list[str]:
        """The names of existing empty ones."""
        there = [name for name in self._names if (self._folder / name).exists()]
        return [name for name in there if (self._folder / name).stat().st_size == 0]

    def note(self) -> dict[str, Any]:
        """Their lengths; -1 for those that do not exist."""
        return {"sizes": self._sizes()}

    def restore(self, steps: RecentSteps) -> None:
        """Cuts each to its length at the current step; `InputError` if one is shorter, or gone."""
        for place, name in enumerate(self._names):
            file = self._folder / name
            if file.resolve() in self._rewritten:
                continue
            if steps.step >= 0:
                _cut(file, int(steps.current["sizes"][place]))
            elif file.exists():  # from a start without a step: PLUMED would keep a copy, and refuse after the 100th
                undo(file, 0)
                file.unlink()

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Removes what PLUMED writes meanwhile."""
        sizes = self._sizes()
        yield
        for file, before, after in zip(self._paths, sizes, self._sizes(), strict=False):
            if 0 <= before < after:
                os.truncate(file, before)

    def close(self) -> None:
        """Releases the locks; PLUMED has closed the files."""
        for file in self._locks.values():
            no_longer(file)
            os.close(file)
        self._locks.clear()

    def _sizes(self) -> NDArray[np.int64]:
        sizes = np.full(MOST_FILES, -1)
        for place, file in enumerate(self._paths):
            with contextlib.suppress(FileNotFoundError):
                sizes[place] = os.stat(file).st_size
        return sizes


def files_written() -> set[Path]:
    """The regular files that this process has open for writing."""
    found = set()
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            file = int(name)
            if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY and stat.S_ISREG(os.fstat(file).st_mode):
                if hasattr(fcntl, "F_GETPATH"):  # macOS
                    path = fcntl.fcntl(file, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0").decode()
                else:
                    path = os.readlink(f"/dev/fd/{name}")
                found.add(Path(path))
    return found


def warnings_in(log_file: Path) -> list[str]:
    """What PLUMED warns of in its log; empty if there is none."""
    try:
        lines = log_file.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = [line.removeprefix("PLUMED:").replace("+", "").strip() for line in lines if "WARNING" in line]
    told = [text.removeprefix("WARNING").lstrip(": ") for text in found]
    return [text for text in dict.fromkeys(told) if not text.startswith(NO_WARNINGS)]


def _cut(file: Path, size: int) -> None:
    if size < 0:
        return
    found = file.stat().st_size if file.exists() else 0
    if found < size:
        raise InputError(
            f"{file} had {size} bytes after the last step and has {found} now; bring it back, or remove the state file "
            "to start a new bias"
        )
    if found > size:
        if _is_within_a_line(file, size):
            raise InputError(
                f"{file} had {size} bytes after the last step, and now a line goes across this place: it was edited; "
                "bring it back, or remove the state file to start a new bias"
            )
        undo(file, size)


def _is_within_a_line(file: Path, size: int) -> bool:
    """Whether a text file has no end of a line before this place."""
    with open(file, "rb") as opened:
        head = opened.read(4096)
        opened.seek(max(size - 1, 0))
        before = opened.read(1)
    is_text = all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)
    return size > 0 and is_text and before != b"\n"
