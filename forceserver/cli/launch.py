"""`forceserver launch`: i-PI and its drivers as one program that ends as one."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import arguments, processes
from .progress import Display, StepReader

if TYPE_CHECKING:
    import subprocess

    from ..doors.ipi_input import IpiInput

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
"""Time that processes get to end by themselves: i-PI writes its RESTART, drivers see EXIT."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
"""Before a driver is started again; doubled as long as the simulation does not get on."""

FAREWELL_SECONDS = 2.0
"""Between the end of a driver that was told to leave and the end of i-PI, and the other way round, at most."""


THREAD_DIED = "Exception in thread"
"""What Python says when a thread of i-PI has died; i-PI itself does not notice, and waits for ever."""


class Outcome(IntEnum):
    """Exit codes; a signal gives 128 + its number."""

    FINISHED = 0
    FAILED = 1
    BAD_INPUT = 2
    NO_DRIVER = 3


def launch(
    config: arguments.Config,
    drivers: Annotated[
        int, typer.Option("--drivers", "-n", min=0, help="Drivers to keep running; 0 if i-PI needs none (<ffdirect>).")
    ] = 1,
    restart: Annotated[
        bool, typer.Option("--restart", help="Go on from the newest of RESTART and the checkpoints of the simulation.")
    ] = False,
    deadline: Annotated[
        float, typer.Option(min=1.0, metavar="SECONDS", help="End everything when no driver could be had for so long.")
    ] = 60.0,
    attempts: Annotated[
        int,
        typer.Option(min=1, help="Deaths of drivers without a step of the simulation in between that are too many."),
    ] = 20,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="OMP_NUM_THREADS of each driver. [default: what is set, else (cores - 1) / drivers]"),
    ] = None,
    logs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For ipi.log, driver-1.log, ...  [default: beside i-PI's input]"),
    ] = None,
) -> None:
    """Run a simulation: start i-PI on its input with drivers, and see them through.

    i-PI runs in the folder of its input. Drivers that die are started again. Everything ends when the simulation ends,
    on a signal (i-PI then writes its RESTART), and when no driver can be had. Files of earlier runs are kept: i-PI
    renames its own, logs are appended to.

    Exit code: 0 the simulation ended as it should (all steps done, its time over, or a file EXIT); 1 i-PI failed;
    2 something in the input is wrong, nothing was started; 3 no driver could be had; 128 + N on signal N.
    """
    raise typer.Exit(run_simulation(config, drivers, restart, deadline, attempts, threads, logs))


def run_simulation(
    config: Path,
    drivers: int,
    restart: bool = False,
    deadline: float = 60.0,
    attempts: int = 20,
    threads: int | None = None,
    logs: Path | None = None,
) -> int:
    """What `launch` does; returns its exit code."""
    from ..doors.ipi_input import read_ipi_input
    from ..doors.ipi_restart import cut_outputs, newest_state, remove_dead_sockets
    from ..settings import load, require
    from .check import WRONG, findings_of
    from .check import show as show_findings

    settings = load(config)
    path = require(settings.simulation, "simulation", config, "it names the input file of i-PI").input
    if restart:
        state = newest_state(read_ipi_input(path))
        remove_dead_sockets(state)
        path = state.path
        if state.step == 0 and settings.bias is not None:
            print(
                f"forceserver: {path} is of step 0: remove the files of the bias, or it counts this as a new run with "
                "the hills that are there",
                file=sys.stderr,
            )
    findings = findings_of(config, settings, drivers=drivers, simulation=path)
    if any(finding.verdict is WRONG for finding in findings):
        show_findings(finding for finding in findings if finding.verdict is WRONG)
        return Outcome.BAD_INPUT
    simulation = read_ipi_input(path)
    if simulation.step >= simulation.total_steps:
        raise InputError(f"{path}: nothing to do, step {simulation.step} of total_steps {simulation.total_steps}")
    logs = (logs or simulation.folder).absolute()
    logs.mkdir(parents=True, exist_ok=True)
    if restart:
        cut_outputs(simulation)
    run = Run(config.absolute(), simulation, logs, drivers, threads, deadline, attempts)
    with signals_noted() as noted:
        return run.watch(noted)


@dataclass
class Slot:
    """The place of one driver, whichever process fills it."""

    number: int
    process: "subprocess.Popen | None" = None
    started: float = 0.0
    not_before: float = 0.0
    last_end: int | None = None

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Said:
    """What a process has written to its log since this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin = path.stat().st_size if path.exists() else 0
        self._found: dict[str, int] = {}

    def has(self, words: str) -> bool:
        """Whether it said `words` (within a line); looks only at what is new since the last time."""
        seen = self._found.get(words, self._begin)
        if seen < 0:
            return True
        if not self._path.exists() or self._path.stat().st_size <= seen:
            return False
        text = self._read(max(self._begin, seen - len(words)))
        self._found[words] = -1 if words.encode() in text else max(self._begin, seen - len(words)) + len(text)
        return self._found[words] < 0

    def last_lines(self, count: int) -> str:
        """The end of it."""
        return "\n".join(self._read(self._begin).decode(errors="replace").rstrip().splitlines()[-count:])

    def _read(self, begin: int) -> bytes:
        with open(self._path, "rb") as file:
            file.seek(begin)
            return file.read()


class GiveUp(Exception):
    """No driver can be had."""


@dataclass
class Run:
    """i-PI and its drivers while they run."""

    config: Path
    simulation: "IpiInput"
    logs: Path
    drivers: int
    threads: int | None
    deadline_seconds: float
    attempts: int
    slots: list[Slot] = field(init=False)
    ipi: "subprocess.Popen | None" = None
    deaths: int = 0
    had_one: float = 0.0
    """When there last was a driver that works: the simulation got on, or one has lived for the deadline."""

    def __post_init__(self) -> None:
        self.slots = [Slot(i + 1) for i in range(self.drivers)]
        self.ipi_log = self.logs / "ipi.log"

    def watch(self, signals: list[int]) -> int:
        """Starts everything, waits for the end, leaves nothing behind; the exit code."""
        steps = StepReader(self.simulation, self.ipi_log)
        self.said = Said(self.ipi_log)
        try:
            with Display(self.simulation.step, self.simulation.total_steps) as display:
                self._start_ipi()
                self.had_one = time.monotonic()
                last = None
                while self.ipi.poll() is None:
                    if signals:
                        return self._stop(signals[0], display)
                    step = steps.read()
                    if step != last:
                        last, self.deaths, self.had_one = step, 0, time.monotonic()
                    if self.said.has(THREAD_DIED):
                        processes.end([self.ipi], GRACE_SECONDS)
                        break
                    self._tend_drivers(display)
                    display.update(step, sum(slot.alive() for slot in self.slots))
                    time.sleep(POLL_SECONDS)
                last = steps.read()
                display.update(last, 0)
        except GiveUp as reason:
            print(f"forceserver: {reason}; see {self.logs / 'driver-1.log'}", file=sys.stderr)
            return Outcome.NO_DRIVER
        finally:
            self._end_all()
        return self._judge(last)

    def _start_ipi(self) -> None:
        script = ipi_script()
        verbosity = ["-V", "low"] if self.simulation.verbosity == "quiet" else []  # the log must tell how it ended
        command = [sys.executable, "-u", str(script), *verbosity, self.simulation.path.name]
        self.ipi = processes.start(command, self.simulation.folder, self.ipi_log, os.environ)

    def _tend_drivers(self, display: Display) -> None:
        """Fills empty places; raises `GiveUp` when that has been in vain for too long."""
        now = time.monotonic()
        for slot in self.slots:
            if slot.alive():
                if now - slot.started > self.deadline_seconds:
                    self.had_one = now
                continue
            if slot.process is not None:
                self._note_death(slot, now)
            if now >= slot.not_before:
                if slot.last_end is not None:
                    display.say(
                        f"driver {slot.number} ended ({processes.describe_end(slot.last_end)}); starting another"
                    )
                self._start_driver(slot, now)
        if self.deaths and now - self.had_one > self.deadline_seconds:
            raise GiveUp(f"no driver could be had for {self.deadline_seconds:g} s")
        if self.deaths >= self.attempts:
            raise GiveUp(f"drivers died {self.deaths} times and the simulation did not get on")

    def _note_death(self, slot: Slot, now: float) -> None:
        slot.last_end = slot.process.returncode
        slot.process = None
        if slot.last_end == Outcome.BAD_INPUT:
            raise GiveUp(f"driver {slot.number} refuses (exit code 2): {last_line(self._driver_log(slot))}")
        pause = min(FIRST_PAUSE_SECONDS * 2**self.deaths, LONGEST_PAUSE_SECONDS)
        if slot.last_end == 0:  # it was told to leave: mostly because i-PI is ending too
            pause = max(pause, FAREWELL_SECONDS)
        self.deaths += 1
        slot.not_before = now + pause

    def _start_driver(self, slot: Slot, now: float) -> None:
        command = [sys.executable, "-m", "forceserver", "drive", str(self.config)]
        if slot.number > 1:  # there is one bias and one set of variables, whatever the number of drivers
            command += ["--door", "force"]
        environment = driver_environment(os.environ, self.drivers, self.threads)
        slot.process = processes.start(command, self.simulation.folder, self._driver_log(slot), environment)
        slot.started = now

    def _driver_log(self, slot: Slot) -> Path:
        return self.logs / f"driver-{slot.number}.log"

    def _stop(self, number: int, display: Display) -> int:
        display.say(f"{signal.Signals(number).name}: ending i-PI, which writes its RESTART")
        processes.end([self.ipi], GRACE_SECONDS)
        return 128 + number

    def _end_all(self) -> None:
        """i-PI first, since it tells the drivers to leave; whoever stays is ended."""
        if self.ipi is not None:
            processes.end([self.ipi], GRACE_SECONDS)
        left = [slot.process for slot in self.slots if slot.process is not None]
        deadline = time.monotonic() + FAREWELL_SECONDS
        while any(process.poll() is None for process in left) and time.monotonic() < deadline:
            time.sleep(0.02)
        processes.end(left, GRACE_SECONDS)

    def _judge(self, last: int | None) -> int:
        """What i-PI said at its end; its exit code alone does not tell (it is 0 after a failure that it noticed)."""
        code = self.ipi.returncode
        ended = self.said.has("I-PI reports success") or self.said.has("Restartable as is: YES")
        if code == 0 and ended and not self.said.has(THREAD_DIED):
            where = "" if last is None else f" at step {last} of {self.simulation.total_steps}"
            print(f"i-PI ended{where}; outputs are in {self.simulation.folder}", file=sys.stderr)
            return Outcome.FINISHED
        print(f"forceserver: i-PI failed ({processes.describe_end(code)}); the end of {self.ipi_log}:", file=sys.stderr)
        print(self.said.last_lines(20), file=sys.stderr)
        return Outcome.FAILED


def ipi_script() -> Path:
    """The program `i-pi` that belongs to the i-PI that this interpreter imports."""
    from importlib.metadata import files

    for file in files("ipi") or ():
        if file.name == "i-pi" and file.locate().is_file():
            return Path(file.locate()).resolve()
    raise InputError("i-PI is installed without its program i-pi; reinstall it: pip install --force-reinstall ipi")


def driver_environment(environment: Mapping[str, str], drivers: int, threads: int | None) -> dict[str, str]:
    """The environment of a driver: i-PI gets a core and the drivers share the others, unless somebody has decided."""
    if threads is None and "OMP_NUM_THREADS" in environment:
        return dict(environment)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {**environment, "OMP_NUM_THREADS": str(threads or max(1, (cores - 1) // max(drivers, 1)))}


def last_line(path: Path) -> str:
    """The last line of a log that is not empty."""
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "(its log is empty)"


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Signals that ask for an end are put into a list instead of ending this process."""
    noted: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, frame: noted.append(number)) for number in numbers}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
