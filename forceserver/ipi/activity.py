"""What a driver is doing, for the process that started it.

A driver may hang in code that is not ours, so it cannot be asked. It shares a page of memory with its parent instead,
and writes there when an evaluation begins and ends: two stores of eight bytes, about a microsecond.
"""

import mmap
import os
import struct
import tempfile
import time

VARIABLE = "FORCESERVER_ACTIVITY"
"""Environment variable with the number of the inherited file."""

ROLES = ("force", "bias")
_ENTRY = struct.Struct("=dQ")  # start of the current evaluation (monotonic clock, 0 if there is none), answers so far


class Activity:
    """A driver's activity, role by role; the same page on both sides."""

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, mmap.PAGESIZE)

    @property
    def answers(self) -> int:
        """Evaluations that have succeeded."""
        return sum(self._read(role)[1] for role in ROLES)

    @property
    def busy_seconds(self) -> float:
        """How long the oldest evaluation in progress has taken so far; 0 if there is none."""
        now = time.monotonic()
        return max(now - begin if begin else 0.0 for begin, _ in map(self._read, ROLES))

    def evaluating(self, role: str) -> "Evaluating":
        """The context that every evaluation of a role runs in."""
        return Evaluating(self._page, ROLES.index(role) * _ENTRY.size)

    def trying(self) -> "Evaluating":
        """The context of an evaluation that is no answer: of the template, before the driver connects."""
        return Evaluating(self._page, 0, counts=False)

    def _read(self, role: str) -> tuple[float, int]:
        return _ENTRY.unpack_from(self._page, ROLES.index(role) * _ENTRY.size)


class Evaluating:
    """Records when an evaluation begins, and counts those that succeed."""

    def __init__(self, page: mmap.mmap, offset: int, counts: bool = True) -> None:
        self._page, self._offset, self._counts, self._answers = page, offset, counts, 0

    def __enter__(self) -> None:
        _ENTRY.pack_into(self._page, self._offset, time.monotonic(), self._answers)

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        self._answers += self._counts and failed is None
        _ENTRY.pack_into(self._page, self._offset, 0.0, self._answers)


def shared_page() -> int:
    """Descriptor of a page of memory that a child can inherit."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("forceserver-activity")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.write(descriptor, bytes(mmap.PAGESIZE))  # written, not sparse: a full disk is an error here and now
    return descriptor


def of_this_process() -> Activity | None:
    """The activity page that the parent of this driver watches; None if it watches none."""
    number = os.environ.pop(VARIABLE, "")  # not for programs that a potential starts
    return Activity(int(number)) if number else None
