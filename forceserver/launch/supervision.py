"""One run of i-PI with its drivers: started, watched, ended."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .. import processes
from ..errors import InputError
from ..files import why_full
from ..ipi.addresses import clients_at
from ..ipi.program import ipi_script
from ..locks import FolderLock
from .display import LaunchDisplay, tell
from .logs import Said, last_line
from .plan import ExitCode, GiveUp, Plan
from .reaper import FAREWELL_SECONDS, GRACE_SECONDS, RESTART_SECONDS, Reaper
from .slot import Slot, driver_environment
from .steps import Patience, StepReader

if TYPE_CHECKING:
    from ..ipi.input import IpiInput

POLL_SECONDS = 0.1

LONGEST_POLL_SECONDS = 2.0
"""What is longer was a pause of this process (SIGSTOP, Ctrl-Z, a suspended job), in which it could start no driver."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
"""Before a driver is restarted; doubled as long as the simulation does not advance."""

THREAD_DIED = "Exception in thread"
"""Python's message when a thread of i-PI has died; i-PI itself does not notice, and waits for ever."""

LISTENS = "@ForceField ({name}): Starting the polling thread main loop"
"""i-PI's message when a force field listens, at every verbosity above "quiet"."""

TOLD_TO_END = "@SOFTEXIT:   Kill signal"
"""i-PI's message about a signal; a second one before it has written RESTART keeps it from doing so."""

IS_OPEN = "the CV server is open at"
"""The CV server's message when PLUMED may connect."""

SILENCE_SECONDS = 10.0
"""How often connections of new drivers are looked for, which may be on machines that vanish."""

QUEUE_SECONDS = 0.5
"""A queue system that ends a job signals all processes, i-PI within this time after `launch`."""

CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})
"""Signals that mean a process crashed."""

CRASHES_BEFORE_AN_ANSWER = 3
"""A driver that has crashed this often in a row without a single answer will never answer."""


@dataclass
class Supervisor:
    """i-PI and its drivers while they run."""

    plan: Plan
    simulation: "IpiInput"
    lock: FolderLock
    slots: list[Slot] = field(init=False)
    server: Slot | None = field(init=False)
    """The CV server, if it is a process of its own."""
    ipi: subprocess.Popen = field(init=False)
    deaths: int = 0
    """Deaths of drivers since the simulation last advanced."""
    without_seconds: float = 0.0
    """How long there has been no driver at all."""
    looked: float = field(init=False, default_factory=time.monotonic)
    """When `without_seconds` was last updated."""
    bounded: float = -math.inf
    """When the connections of i-PI were last told how long they may be silent."""
    broken: bool = False
    """Whether a thread of i-PI has died."""

    def __post_init__(self) -> None:
        self.slots = [Slot(i + 1) for i in range(self.plan.drivers)]
        self.server = Slot(0) if self.plan.cv_server_first else None

    def watch(self, signals: list[int]) -> int:
        """Starts everything, waits for the end, leaves nothing behind; returns the exit code."""
        steps = StepReader(self.simulation, self.plan.ipi_log)
        self.patience = Patience()
        with (
            contextlib.closing(Said(self.plan.ipi_log)) as self.said,
            Reaper(keep=[self.lock.descriptor]) as self.reaper,
            self._cv_server(signals) as is_open,
        ):
            if not is_open:
                return ExitCode.NO_DRIVER
            self._start_ipi()
            try:
                with LaunchDisplay(self.simulation.step, self.simulation.total_steps) as self.display:
                    while not processes.ended(self.ipi):
                        if signals:
                            return self._stop(signals[0])
                        if self.said.has(THREAD_DIED):
                            self.broken = True
                            self._end_ipi()
                            break
                        self._tend(steps.read())
                        time.sleep(POLL_SECONDS)
                    last = steps.read()
                    self.display.update(last, 0)
                    if signals and not self.broken:  # a queue system signals i-PI, too, which may be faster
                        return self._stop(signals[0])
            except GiveUp as reason:
                tell(f"forceserver: {reason}; see {reason.log or self.plan.logs / 'driver-1.log'}")
                return reason.code
            finally:
                self._end_all()
            return self._judge(last)

    @contextlib.contextmanager
    def _cv_server(self, signals: list[int]) -> Iterator[bool]:
        """Keeps the CV server open, if it is a process of its own; yields False if it cannot be opened."""
        slot = self.server
        try:
            if slot is not None:
                self._open_server(slot, signals)
        except GiveUp as reason:
            tell(f"forceserver: {reason}; see {reason.log}")
            yield False
        else:
            yield True
        finally:
            if slot is not None and slot.process is not None:
                processes.end([slot.process], GRACE_SECONDS)  # nobody else ends it
                self.reaper.forget(slot.process.pid)

    def _open_server(self, slot: Slot, signals: list[int]) -> None:
        """Starts the CV server and waits until it is open, or a signal comes."""
        log = self.plan.logs / "cv-server.log"
        command = [*processes.FORCESERVER, "drive", *self.plan.drive, "--role", "cv"]
        environment = driver_environment(os.environ, self.plan.drivers + 1, self.plan.threads)
        with contextlib.closing(Said(log)) as said:
            process = slot.start(command, self.simulation.folder, log, environment, self.lock)
            self.reaper.adopt(process.pid)
            while not said.has(IS_OPEN) and not signals:
                if processes.ended(process):
                    how = processes.describe_end(process.returncode)
                    raise GiveUp(f"the CV server ended before it was open ({how}): {last_line(log)}", log)
                self.lock.beat()
                time.sleep(POLL_SECONDS)

    def _tend_server(self, slot: Slot) -> None:
        """Opens it again if it has died, also while it was opening: PLUMED waits for it. `GiveUp` if it refuses."""
        for left in reversed(range(self.plan.attempts)):
            process = slot.process
            if process is None or not processes.ended(process):
                return
            self.reaper.forget(process.pid)
            self.display.say(f"the CV server ended ({processes.describe_end(process.returncode)}); opening it again")
            try:
                self._open_server(slot, [])
            except GiveUp:
                if left == 0 or slot.process is None or slot.process.returncode >= 0:
                    raise

    def _start_ipi(self) -> None:
        script, folder = ipi_script(), self.simulation.folder
        verbosity = (
            ["-V", "low"] if self.simulation.verbosity == "quiet" else []
        )  # the log has to be read to know how it ended
        command = [sys.executable, "-u", str(script), *verbosity, os.path.relpath(self.simulation.path, folder)]
        keep = [self.lock.descriptor]
        self.ipi = processes.start(command, folder, self.plan.ipi_log, os.environ, keep)
        self.reaper.adopt(self.ipi.pid)

    def _tend(self, step: int | None) -> None:
        """Checks everything once."""
        self.lock.beat()
        if self.server is not None:
            self._tend_server(self.server)
        if self.patience.see(step):
            self.deaths, self.without_seconds = 0, 0.0
        if waited := self.patience.lost():
            self._tell_stall(waited)
        if not self._listens():
            return
        self._bound_silence()
        self._tend_drivers()
        self.display.update(step, sum(slot.alive() for slot in self.slots))

    def _listens(self) -> bool:
        """Whether this i-PI listens. Until it does, a driver could reach another server at the same address."""
        names = [server.name for server in self.simulation.sockets]
        names += [name for tag, name in self.simulation.other_forcefields if tag == "ffcavphsocket"]
        return all(self.said.has(LISTENS.format(name=name)) for name in names)

    def _bound_silence(self) -> None:
        """i-PI waits for ever for a driver whose machine has vanished; its <timeout> does not cover every moment."""
        now = time.monotonic()
        if now - self.bounded > SILENCE_SECONDS and any(server.mode == "inet" for server in self.simulation.sockets):
            self.bounded = now
            processes.bound_silence(self.ipi)

    def _tend_drivers(self) -> None:
        """Fills empty places; raises `GiveUp` when that has failed for too long."""
        now = time.monotonic()
        for slot in self.slots:
            if slot.alive():
                self._replace_if_late(slot)
                continue
            if slot.process is not None:
                self._note_death(slot, slot.process, now)
            if now >= slot.not_before:
                if slot.reason is not None:
                    self.display.say(f"driver {slot.number} ended ({slot.reason}); starting another")
                self._start_driver(slot)
        self._count_time_without(now)
        if self.deaths and self.without_seconds > self.plan.deadline_seconds:
            raise GiveUp(f"no driver could be started for {self.plan.deadline_seconds:g} s")
        if self.deaths >= self.plan.attempts:
            raise GiveUp(f"drivers died {self.deaths} times and the simulation did not advance")

    def _count_time_without(self, now: float) -> None:
        """Time in which a driver loads its model does not count: that may take long."""
        alive = [slot for slot in self.slots if slot.alive()]
        if any(slot.answers for slot in alive):
            self.without_seconds = 0.0
        elif not alive:
            self.without_seconds += min(now - self.looked, LONGEST_POLL_SECONDS)
        self.looked = now

    def _replace_if_late(self, slot: Slot) -> None:
        limit = self.plan.evaluation_deadline_seconds
        if slot.process and limit is not None and slot.silent_seconds() > limit:
            processes.end([slot.process], FAREWELL_SECONDS)
            slot.reason = f"it had not answered for {limit:g} s, driver.evaluation_deadline_seconds"

    def _note_death(self, slot: Slot, process: subprocess.Popen, now: float) -> None:
        code, answered = process.returncode, slot.answers > 0
        within = slot.busy_seconds > 0  # the potential has ended the process (STOP of Fortran): its code says nothing
        self.reaper.forget(process.pid)
        slot.process = None
        slot.reason = slot.reason or processes.describe_end(code) + " within an evaluation" * (within and code >= 0)
        if code == ExitCode.BAD_INPUT and not within:
            raise GiveUp(f"driver {slot.number} refuses (exit code 2): {last_line(self._driver_log(slot))}")
        if code == ExitCode.UNTRUSTED and not within:
            log = self._driver_log(slot)
            raise GiveUp(f"driver {slot.number} ends the simulation: {last_line(log)}", log, ExitCode.UNTRUSTED)
        slot.crashes = slot.crashes + 1 if -code in CRASHES and not answered else 0
        if slot.crashes >= CRASHES_BEFORE_AN_ANSWER:
            raise GiveUp(
                f"driver {slot.number} crashed {slot.crashes} times ({slot.reason}) before its first answer; "
                f"its last words: {last_line(self._driver_log(slot))}"
            )
        told_to_exit = code == 0 and not within  # usually because i-PI is ending, too
        self._put_off(slot, now, FAREWELL_SECONDS if told_to_exit else 0.0)

    def _put_off(self, slot: Slot, now: float, at_least: float = 0.0) -> None:
        """Lets the next start in this place wait, the longer the more have failed."""
        pause = min(FIRST_PAUSE_SECONDS * 2**self.deaths, LONGEST_PAUSE_SECONDS)
        self.deaths += 1
        slot.not_before = now + max(pause, at_least)

    def _start_driver(self, slot: Slot) -> None:
        for path in self.plan.sources.changed():
            text = f"driver {slot.number} computes with what is there now, those that run with what was there"
            self.display.say(f"{path} has changed since this run began: {text}")
        command = [*processes.FORCESERVER, "drive", *self.plan.drive]
        if slot.number > 1:  # there is one bias and one set of variables, whatever the number of drivers
            command += ["--role", "force"]
        elif self.server is not None:
            command += ["--role", "force", "--role", "bias"]
        environment = driver_environment(os.environ, self.plan.drivers, self.plan.threads)
        try:
            process = slot.start(command, self.simulation.folder, self._driver_log(slot), environment, self.lock)
        except (InputError, OSError) as error:  # too many processes or files, a full disk: that may pass
            slot.reason = f"it could not be started: {error}"
            self._put_off(slot, time.monotonic())
        else:
            self.reaper.adopt(process.pid)

    def _driver_log(self, slot: Slot) -> Path:
        return self.plan.logs / f"driver-{slot.number}.log"

    def _tell_stall(self, waited: float) -> None:
        doing = "; ".join(slot.describe() for slot in self.slots) or "the drivers run elsewhere"
        doing = "; ".join([doing, *self._connected(), *self._full_disks()])
        if not self._listens():
            doing = f"i-PI does not listen yet, see {self.plan.ipi_log}"
        if processes.is_stopped(self.ipi):
            doing = f"i-PI (process {self.ipi.pid}) is stopped"
        self.display.say(f"no step for {waited:.0f} s: {doing}")

    def _connected(self) -> Iterator[str]:
        """How many are at each socket of i-PI, drivers that this program has not started, too; who must serve it."""
        for server in self.simulation.sockets:
            there = {None: "", 0: " (none is connected)"}.get(count := clients_at(server), f" ({count} connected)")
            ours = self.slots and server.name in self.plan.served
            whose = "these serve" if ours else "other drivers must serve"
            yield f"{whose} <ffsocket name='{server.name}'> at {server.place}{there}"

    def _stop(self, number: int) -> int:
        self.display.say(f"{signal.Signals(number).name}: ending i-PI, which writes its RESTART")
        self._end_ipi()
        return 128 + number

    def _end_ipi(self) -> None:
        """Asks i-PI to end. It waits for structures in progress, so after a moment their connections are closed."""
        if not processes.wait([self.ipi], QUEUE_SECONDS) and not self.said.has(TOLD_TO_END):
            processes.tell_to_end(self.ipi)
        if not processes.wait([self.ipi], RESTART_SECONDS):
            processes.end([slot.process for slot in self.slots if slot.process and slot.alive()], FAREWELL_SECONDS)
            deadline = time.monotonic() + GRACE_SECONDS
            while not processes.wait([self.ipi], 0.5) and time.monotonic() < deadline:
                processes.hang_up(self.ipi)  # drivers that this process has not started
            processes.kill([self.ipi])

    def _end_all(self) -> None:
        """i-PI first, since it tells the drivers to exit; those that stay are killed."""
        self._end_ipi()
        remove_shared_memory(self.ipi.pid)
        left = [slot.process for slot in self.slots if slot.process is not None]
        processes.wait(left, FAREWELL_SECONDS)
        processes.end(left, GRACE_SECONDS)
        for process in [self.ipi, *left]:
            self.reaper.forget(process.pid)

    def _judge(self, last: int | None) -> int:
        """i-PI's last messages; its exit code alone is not enough (it is 0 after failures that i-PI noticed)."""
        code = self.ipi.returncode
        ended = self.said.has("I-PI reports success") or self.said.has("Restartable as is: YES")
        if code == 0 and ended and not self.said.has(THREAD_DIED):
            where = "" if last is None else f" at step {last} of {self.simulation.total_steps}"
            tell(f"i-PI ended{where}; outputs are in {self.simulation.folder}")
            return ExitCode.FINISHED
        log = self.plan.ipi_log
        tell(f"forceserver: i-PI failed ({processes.describe_end(code)}); the end of {log}:")
        tell(self.said.last_lines(20))
        for text in self._full_disks():
            tell(f"forceserver: {text}: change that and continue with --restart")
        return ExitCode.FAILED

    def _full_disks(self) -> Iterator[str]:
        """What i-PI itself cannot write into its log either."""
        for folder in {self.simulation.folder, self.plan.logs}:
            if why := why_full(folder):
                yield f"nothing can be written to {folder} ({why})"


def remove_shared_memory(pid: int) -> None:
    """Removes shared-memory segments that a killed i-PI left behind."""
    for path in Path("/dev/shm").glob(f"ipi_shm_{pid}_*"):  # systems without that folder have none
        with contextlib.suppress(OSError):
            path.unlink()
