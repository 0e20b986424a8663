"""The progress of a simulation, shown on a terminal or written as lines."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from .steps import Rate


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
