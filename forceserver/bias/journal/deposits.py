"""The deposits of a bias, in a file that is the truth: HILLS, or KERNELS for OPES.

A deposit is added to the bias with the numbers in its line, not those that it was computed from, so that replaying the
file gives the same bits.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic

import numpy as np

from ...errors import BiasError, InputError
from ...files import append
from ...forks import no_longer
from ..coordinates import shortest
from ..growing import GrowingBias, T
from ..tables import FieldsReader, header, size_of_rows
from .disk import open_locked, sync_folder, undo
from .recent_steps import RecentSteps

log = logging.getLogger(__name__)


def known_deposits(steps: RecentSteps) -> int:
    """How many deposits the clock knows of at the current step."""
    return int(steps.current["hills"]) if steps.step >= 0 else 0


def check_none_removed(path: Path, steps: RecentSteps, noun: str) -> None:
    """For a file that is not there: `InputError` if the clock knows of deposits, before walkers find an empty one."""
    if known := known_deposits(steps):
        raise _lost(path, noun, known, 0)


def _lost(path: Path, noun: str, known: int, found: int) -> InputError:
    return InputError(
        f"the clock file knows of {known} {noun}, but {path.name} has {found}; bring the file back (without the clock "
        f"file the bias goes on from the last of the {noun} that are there; move {path.name}, COLVAR and the clock "
        "file away to start a new bias)"
    )


class DepositFile(Generic[T]):
    """The deposits of this run, each of them on disk when `deposit` returns; and those of other walkers.

    An existing file is continued; an incomplete last line is cut off and reported. `InputError` if it belongs to
    another bias, or if another process writes to it.

    biased: which of the values in a record are the centre of a deposit. others: files of the other walkers; if there
    are any, PLUMED adds the wall-clock time to the lines.
    """

    def __init__(
        self,
        path: Path,
        bias: GrowingBias[T],
        time_step_ps: float,
        biased: Sequence[int] = (0,),
        others: Sequence[Path] = (),
    ) -> None:
        self.path = path
        self.is_shared = bool(others)
        self._bias, self._time_step, self._biased = bias, time_step_ps, list(biased)
        self._others = [FieldsReader(other) for other in others]
        self._missed: set[Path] = set()
        self._file = open_locked(path, os.O_WRONLY | os.O_APPEND)
        try:
            self._table, self._waiting = self._continue()
        except BaseException:
            self.close()
            raise
        self._none = self._waiting[:0]
        self._count = self._committed = len(self._waiting)  # in the file; of these, those that act at the current step

    def deposit(self, numbers: Sequence[float] | None) -> T:
        """Writes the deposit of the current configuration (None: none), unless an interrupted step has done so.

        Returns what is on disk, acts from the next configuration on, and has not been returned before.
        `BiasError` if it cannot be written.
        """
        if numbers is not None and self._count == self._committed:
            self._waiting = self._append(numbers)
            self._count += 1
        return self._take(len(self._waiting))

    def of_others(self) -> Iterator[T]:
        """What other walkers have written since the last time. `InputError` if it is no longer what was read."""
        for table in self._others:
            if not table.path.exists():
                self._miss(table)
            elif len(new := self._read(table)):
                yield new

    def _miss(self, table: FieldsReader) -> None:
        """Warns once that a file has disappeared: its writer goes on writing to the removed file."""
        if table.offset and table.path not in self._missed:
            self._missed.add(table.path)
            log.warning(
                "%s, which was read before, is gone: what its walker adds from now on does not act here; bring the "
                "file back",
                table.path,
            )

    def note(self) -> dict[str, Any]:
        """Notes that all of them act from the committed configuration on."""
        self._committed = self._count
        return {"hills": self._count}

    def restore(self, steps: RecentSteps) -> None:
        """Removes what came after the current step, if the engine went back; otherwise the file is the truth.

        It may then be one ahead of the clock. A clock that is further behind, or lost, starts at the last deposit.
        `InputError` if deposits are missing.
        """
        known = known_deposits(steps)
        if steps.is_going_back:
            undo(self.path, size_of_rows(self.path, lambda place, _: place < known))
            self._table, self._waiting = self._continue()
            self._count = len(self._waiting)
        if self._count < known:
            raise _lost(self.path, self._bias.noun, known, self._count)
        if self._count > known and steps.step >= 0:
            self._check_latest(steps.step, self._count - known)
        if self._count - known > 1 or (self._count > known and steps.step < 0):
            known = self._count - 1
            self._set_clock(steps, self._waiting[known:])
        self._committed = known

    def replay(self) -> T:
        """The deposits that act at the current step; call after `restore`."""
        return self._take(self._committed)

    @property
    def count(self) -> int:
        """Deposits in the file."""
        return self._count

    def close(self) -> None:
        """Closes the file; then another process may write to it."""
        no_longer(self._file)
        os.close(self._file)

    def _take(self, count: int) -> T:
        taken = self._waiting
        if count < len(taken):
            taken, self._waiting = taken[:count], taken[count:]
        elif count:
            self._waiting = self._none
        return taken

    def _check_latest(self, step: int, more: int) -> None:
        """`InputError` if there are `more` deposits than the clock knows of, and the last is of before its step."""
        time = float(self._waiting.times[-1])
        if round(time / self._time_step) < step:
            raise InputError(
                f"{self.path} has {more} more {self._bias.noun} than the clock knows of, the last of them at {time:g} "
                f"ps, before the present step ({step * self._time_step:g} ps): are they from another run? Take them "
                "out; or move the clock file away: the bias then goes on from the last of them"
            )

    def _set_clock(self, steps: RecentSteps, last: T) -> None:
        step = round(float(last.times[0]) / self._time_step)
        values = np.full(steps.shape("values"), np.nan)  # the others are unknown, and not needed
        values[self._biased] = last.centres[0]
        steps.jump(step, values=values, hills=self._count - 1)
        log.warning("the clock starts at step %d, that of the last of %d %s", step, self._count, self._bias.noun)

    def _append(self, numbers: Sequence[float]) -> T:
        words = [f"{numbers[0]:.15g}", *map(shortest, numbers[1:])]  # 15 digits: 350 steps of 0.002 ps are 0.7
        line = "".join(f" {word:>23}" for word in words)
        if self.is_shared:
            line += f" {int(time.time())}"
        self._write(line + "\n")
        return self._bias.parse(self._table, np.array([[float(word) for word in line.split()]]))

    def _write(self, text: str) -> None:
        try:
            append(self._file, self.path, text.encode(), durable=True)
        except OSError as error:
            raise BiasError(
                f"cannot write to {self.path}: {error.strerror}; none of the {self._bias.noun} was added"
            ) from error

    def _continue(self) -> tuple[FieldsReader, T]:
        """Reads the file; afterwards it has a header and ends with a complete line."""
        table = FieldsReader(self.path)
        rows = table.read()
        if tail := table.incomplete():
            log.warning("%s: dropped the incomplete last line %r", self.path, tail.decode(errors="replace"))
            os.truncate(self.path, table.offset)
        if not table.fields:
            os.truncate(self.path, 0)
            fields = [*self._bias.fields, *["clock"] * self.is_shared]
            self._write(header(fields, self._bias.constants, self._bias.remark))
            sync_folder(self.path)
            table = FieldsReader(self.path)
            rows = table.read()
        deposits = self._bias.parse(table, rows)
        self._bias.check(self.path, deposits, is_own=True)
        return table, deposits

    def _read(self, table: FieldsReader) -> T:
        """The new and complete ones; after an error they remain unread."""
        before = table.place
        try:
            deposits = self._bias.parse(table, table.read())
            if len(deposits):
                self._bias.check(table.path, deposits, is_own=False)
        except InputError:
            table.return_to(before)
            raise
        return deposits
