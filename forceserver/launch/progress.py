"""The progress of a simulation, read from the files that i-PI writes, and shown."""

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..ipi.input import IpiInput


class StepReader:
    """The last step in i-PI's output: from a properties file with a column `step`, else from its log.

    Reads only the end of the file, so that it costs the same after a week.
    """

    TAIL_BYTES = 8192
    LOG_MARK = "@simulation.run: Average timings at MD step"

    def __init__(self, simulation: "IpiInput", log: Path) -> None:
        candidates = [file for file in simulation.properties if _is_step(file.columns[0] if file.columns else "")]
        self._properties = min(candidates, key=lambda file: file.stride, default=None)
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        # a properties file of an earlier run stays in place until i-PI has moved it away
        self._old = self._identity()

    def read(self) -> int | None:
        """The number of steps done; None as long as nothing is known."""
        return self._from_properties() if self._properties is not None else self._from_log()

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._properties.path) if self._properties else None
        except OSError:
            return None
        return (status.st_ino, status.st_size) if status else None

    def _from_properties(self) -> int | None:
        if self._properties is None or self._identity() in (None, self._old):
            return None
        for line in reversed(_tail(self._properties.path, self.TAIL_BYTES, 0)):
            with contextlib.suppress(ValueError, IndexError, OverflowError):  # a comment, or what it cannot read
                return round(float(line.split()[0]))
        return None

    def _from_log(self) -> int | None:
        for line in reversed(_tail(self._log, self.TAIL_BYTES, self._log_start)):
            with contextlib.suppress(ValueError):
                return int(line.partition(self.LOG_MARK)[2].split(".")[0]) + 1
        return None


def _is_step(column: str) -> bool:
    return column.strip() == "step"


def _tail(path: Path, count: int, start: int) -> list[str]:
    """The complete lines among the last `count` bytes of a file, from `start` on."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = start if start <= size else 0  # somebody has emptied it
            begin = max(start, size - count)
            file.seek(begin)
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return []
    return lines[(begin > start) : -1]


class Said:
    """What a process writes to its log from now on; to be closed.

    The file stays open, so that nothing is missed if a user removes, renames or empties it in the meantime.
    """

    LAST_BYTES, LONGEST_LINE = 1 << 16, 1000

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115 - closed by `close`
        self._begin = self._length = self._size()
        self._found: dict[str, int] = {}

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def has(self, words: str) -> bool:
        """Whether it said `words` (within a line); reads only what is new since the last call."""
        self._begin_again_if_emptied()
        seen = self._found.get(words, self._begin)
        if seen < 0:
            return True
        if self._length <= seen:
            return False
        text = self._read(max(self._begin, seen - len(words)))
        self._found[words] = -1 if words.encode() in text else max(self._begin, seen - len(words)) + len(text)
        return self._found[words] < 0

    def last_lines(self, count: int) -> str:
        """The end of the log, without the end of long lines (the random numbers of a state)."""
        self._begin_again_if_emptied()
        text = self._read(max(self._begin, self._length - self.LAST_BYTES))
        lines = text.decode(errors="replace").rstrip().splitlines()[-count:]
        return "\n".join(line[: self.LONGEST_LINE] for line in lines)

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _begin_again_if_emptied(self) -> None:
        before, self._length = self._length, self._size()
        if self._length < before:
            self._begin = 0
            self._found = {words: seen for words, seen in self._found.items() if seen < 0}

    def _read(self, begin: int) -> bytes:
        self._file.seek(begin)
        return self._file.read()


class Patience:
    """Notices when a simulation has not advanced for much longer than its steps usually take."""

    FACTOR = 5.0
    LEAST_SECONDS = 60.0
    FIRST_SECONDS = 300.0
    """The limit for the first step, when nothing is known."""

    def __init__(self) -> None:
        self._step: int | None = None
        self._since = time.monotonic()
        self._intervals: deque[float] = deque(maxlen=20)
        self._limit = self.FIRST_SECONDS

    def see(self, step: int | None) -> bool:
        """Notes where the simulation is; returns whether it has advanced."""
        if step is None or step == self._step:
            return False
        now = time.monotonic()
        if self._step is not None:
            self._intervals.append(now - self._since)
            self._limit = max(self.LEAST_SECONDS, self.FACTOR * max(self._intervals))
        self._step, self._since = step, now
        return True

    def lost(self) -> float | None:
        """How long it has stood still, when that is worth a message: at the limit, and at each doubling of it."""
        waited = time.monotonic() - self._since
        if waited < self._limit:
            return None
        self._limit = 2 * waited
        return waited


class Rate:
    """Steps per second over the last half minute."""

    WINDOW_SECONDS = 30.0

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, step: int) -> None:
        now = time.monotonic()
        if not self._seen or step != self._seen[-1][1]:
            self._seen.append((now, step))
        while len(self._seen) > 2 and now - self._seen[0][0] > self.WINDOW_SECONDS:
            self._seen.popleft()

    def __call__(self) -> float | None:
        if len(self._seen) < 2:
            return None
        (t0, step0), (t1, step1) = self._seen[0], self._seen[-1]
        return (step1 - step0) / (t1 - t0)


def tell(text: str) -> None:
    """Prints one line, if anybody is there to read it."""
    with _terminal_may_be_closed():
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _terminal_may_be_closed() -> Iterator[None]:
    """A closed terminal or pipe does not end a simulation: from then on, output is discarded."""
    try:
        yield
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)  # so that the interpreter can flush its streams at the end
        os.close(nowhere)


class LaunchDisplay:
    """A bar on a terminal; elsewhere a line every few seconds."""

    LINE_EVERY_SECONDS = 10.0

    def __init__(self, start: int, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._start, self._total = start, total
        self._rate = Rate()
        self._last_line = time.monotonic()
        self._last_step: int | None = None
        self._console = Console(stderr=True)
        self._bar = None
        if self._console.is_terminal:
            # refreshed by hand: a thread must not run when child processes are forked
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self._console,
                auto_refresh=False,
            )
            self._task = self._bar.add_task("waiting", total=total, completed=start, rate="")

    def __enter__(self) -> "LaunchDisplay":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._last_step is not None:
            self._show(self._last_step)
        if self._bar is not None:
            with _terminal_may_be_closed():
                self._bar.stop()

    def say(self, text: str) -> None:
        """Prints one line above the bar."""
        if self._bar is not None:
            with _terminal_may_be_closed():
                self._console.print(text, highlight=False, markup=False)
        else:
            tell(text)

    def update(self, step: int | None, drivers: int) -> None:
        """Shows where the simulation is and how many drivers there are."""
        if step is not None:
            self._rate.add(step)
            self._last_step = step
        if self._bar is not None:
            description = (
                f"{drivers} driver{'s' * (drivers != 1)}" if step is not None else "waiting for the first step"
            )
            with _terminal_may_be_closed():
                rate = self._rate_text()
                self._bar.update(self._task, completed=step or self._start, description=description, rate=rate)
                self._bar.refresh()
        elif step is not None and time.monotonic() - self._last_line > self.LINE_EVERY_SECONDS:
            self._show(step)

    def _show(self, step: int) -> None:
        self._last_line = time.monotonic()
        if self._bar is None:
            tell(f"step {step} of {self._total}{', ' * bool(self._rate_text())}{self._rate_text()}")

    def _rate_text(self) -> str:
        rate = self._rate()
        return "" if rate is None else f"{rate:.3g} steps/s"
