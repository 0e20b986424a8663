"""The progress of a campaign: a bar for each simulation on a terminal, elsewhere a line every few seconds."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence

from ..launch.steps import Rate
from .simulation import Simulation

ESTIMATE_EVERY_SECONDS = 3.0
LINE_EVERY_SECONDS = 10.0

ResultText = Callable[[Simulation], str]
"""A text on the result so far."""


class CampaignDisplay:
    """Steps, steps per second, time left and an estimate of the result, for every simulation.

    labels: what to call each simulation, by its name.
    """

    def __init__(
        self, simulations: Sequence[Simulation], labels: Mapping[str, str], estimate: ResultText | None = None
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._simulations, self._estimate = simulations, estimate
        self._labels = {one.name: labels.get(one.name, one.name) for one in simulations}
        self._rates = {one.name: Rate() for one in simulations}
        self._estimates = dict.fromkeys(self._labels, "")
        self._last_estimate = self._last_line = time.monotonic()
        console = Console(stderr=True)
        self._bar = None
        if console.is_terminal:
            columns = [
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[estimate]}"),
            ]
            # refreshed by hand: a thread must not run when child processes are forked
            self._bar = Progress(*columns, console=console, auto_refresh=False)
            self._tasks = {
                name: self._bar.add_task(label, total=None, rate="", estimate="")
                for name, label in self._labels.items()
            }

    def __enter__(self) -> "CampaignDisplay":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self) -> None:
        """Reads the state of the simulations, and shows it."""
        now = time.monotonic()
        for one in self._simulations:
            one.look()
            self._rates[one.name].add(one.step)
        if self._estimate and now - self._last_estimate > ESTIMATE_EVERY_SECONDS:
            for one in self._simulations:
                if one.running:
                    self._estimates[one.name] = self._estimate(one)
            self._last_estimate = time.monotonic()
        if self._bar:
            self._draw()
        elif now - self._last_line > LINE_EVERY_SECONDS:
            self._last_line = now
            print("   ".join(map(self._line, self._simulations)), file=sys.stderr, flush=True)

    def _line(self, one: Simulation) -> str:
        where = f"{self._labels[one.name]}: step {one.step} of {one.total}"
        return f"{where}, {self._rate(one)} {self._estimates[one.name]}"

    def _draw(self) -> None:
        assert self._bar is not None
        for one in self._simulations:
            self._bar.update(
                self._tasks[one.name],
                total=one.total,
                completed=one.step,
                rate=self._rate(one),
                estimate=self._estimates[one.name],
            )
        self._bar.refresh()

    def _rate(self, simulation: Simulation) -> str:
        rate = self._rates[simulation.name]()
        return f"{rate:.0f} steps/s" if rate else ""
