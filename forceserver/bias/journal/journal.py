"""The journal: what it does with a configuration, in which order, whoever writes the files that grow."""

import logging
import os
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from ...errors import BiasError
from ...frame import Array
from .colvar import ColvarFile
from .deposits import DepositFile
from .recent_steps import RecentSteps
from .stored_structure import StoredStructure

log = logging.getLogger(__name__)


class Arrival(Enum):
    """How an arriving configuration relates to the earlier ones."""

    NEW = "new"
    SAME = "same"
    """The current one."""
    BACK = "back"
    """One of some steps ago: the clock stands before it now, and `replay` has to follow."""


class KeptFile(Protocol):
    """A file, or several, that grow with the steps."""

    def note(self) -> dict[str, Any]:
        """What the record of a step says about it, by the names of the fields."""

    def restore(self, steps: RecentSteps) -> None:
        """Brings it to the current step: after a start, and after the clock has gone back (`steps.is_going_back`)."""

    def close(self) -> None:
        """Closes it."""


class Journal:
    """The clock of a bias, and the files that are kept in step with it.

    deposits, colvar: those that the journal itself writes. files: others. is_shared: whether other walkers read them;
    then nothing is undone when the engine goes back.
    """

    def __init__(
        self,
        steps: RecentSteps,
        deposits: DepositFile | None = None,
        colvar: ColvarFile | None = None,
        files: Sequence[KeptFile] = (),
        is_shared: bool = False,
    ) -> None:
        self.steps = steps
        self._deposits, self._colvar = deposits, colvar
        self._files: list[KeptFile] = [file for file in (deposits, colvar, *files) if file]
        self._is_shared = is_shared or (deposits is not None and deposits.is_shared)
        self._stored_structure: StoredStructure | None = None
        self._process = os.getpid()

    @property
    def step(self) -> int:
        """The number of the current configuration; -1 before the first."""
        return self.steps.step

    @property
    def has_rows(self) -> bool:
        """Whether it keeps a COLVAR."""
        return self._colvar is not None

    @property
    def must_replay(self) -> bool:
        """Whether the clock has gone back and the files have not followed; an error may have kept them."""
        return self.steps.is_going_back

    def check_process(self) -> None:
        """`BiasError` in a forked child: it would write to the clock of its parent and to files of its own."""
        if not self._is_own:
            raise BiasError(
                f"this bias writes to the files of the process that made it ({self._process}); forked processes cannot "
                "use it: make another one there, in a folder of its own"
            )

    @property
    def _is_own(self) -> bool:
        return os.getpid() == self._process

    def begin_connection(self) -> None:
        """An engine has connected, perhaps one that was started again: its first configuration may be an old one."""
        self.steps.begin_connection()

    def begin(self, fingerprint: Array) -> Arrival:
        """Whether an arriving configuration is new, the current one, or an older one, before which the clock is set."""
        step = self.steps.recognise(fingerprint)
        if step is None:
            return Arrival.NEW
        if step == self.steps.step:
            return Arrival.SAME
        if self._is_shared:
            log.warning("the engine went back to step %d; the hills since then remain, other walkers have them", step)
            self.steps.begin_run()
            return Arrival.NEW
        return Arrival.BACK if self.steps.go_back_before(step) else Arrival.NEW

    def take_back(self) -> bool:
        """For callers that cannot answer twice: makes the current step be repeated. True if `replay` has to follow."""
        return self.steps.go_back_before(self.step)

    def deposit(self, numbers: Sequence[float] | None) -> Any:
        """Writes the deposit of the current configuration, if any; it is on disk when this returns.

        Returns the deposits that act from the next configuration on and have not been returned before. `BiasError` if
        it cannot be written.
        """
        return self._deposits.deposit(numbers) if self._deposits else ()

    def of_others(self) -> Iterable[Any]:
        """The deposits that other walkers have written since the last call."""
        return self._deposits.of_others() if self._deposits else ()

    def commit(self, fingerprint: Array, row: Sequence[float] | None = None, **fields: Any) -> None:
        """Makes the configuration that of the next step, which becomes the current one.

        row: of COLVAR, if one is due. fields: what the record of the step says. `BiasError`, and the step is not taken,
        if the row cannot be written.
        """
        if row is not None and self._colvar:
            self._colvar.append(row)
        for file in self._files:
            fields |= file.note()
        self.steps.tick(self.steps.step + 1, fingerprint, **fields)

    def replay(self) -> Any:
        """Brings all files to the step of the clock; returns the deposits that act there."""
        for file in self._files:
            file.restore(self.steps)
        self.steps.settle()
        return self._deposits.replay() if self._deposits else ()

    def stored_structure(self, atoms: int) -> StoredStructure | None:
        """Where one structure is kept beside the clock; None if the clock has no file."""
        clock: Path | None = self.steps.path
        if self._stored_structure is None and clock is not None:
            self._stored_structure = StoredStructure(clock.with_name(f"{clock.name}.lists"), atoms)
        return self._stored_structure

    def close(self) -> None:
        """Closes all files; in a forked child, which has none of them, nothing."""
        if not self._is_own:
            return
        for file in self._files:
            file.close()
        if self._stored_structure:
            self._stored_structure.close()
        self.steps.close()
