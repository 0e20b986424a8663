"""The driver: a client of i-PI, or of any server of its protocol, that serves forces until it is told to exit.

What the loop does, and why, follows from how i-PI treats its clients (docs/protocol.md, "When things go wrong"):

- The potential is ready before the driver opens: i-PI freezes until a new client has answered its first STATUS.
- A structure is computed once the message that *follows* it (GETFORCE, or STATUS from some servers) has been read.
  Then nothing is unread while the potential works, and even a crash looks like a clean end of file to i-PI; guard.py
  covers the rest of the time. If a server sends nothing after a structure, it is computed after a tick.
- A failure (an exception, a number that is not finite) is never answered with numbers: it is logged, the frame is
  saved and the connection is closed, so that i-PI gives the structure to another client, or to this one later.
- There is no helper thread that answers STATUS during a computation. i-PI does not ask a second time, and READY or
  NEEDINIT would be wrong answers then; so the only benefit would be HAVEDATA, and that cannot come before the result.
"""

import contextlib
import dataclasses
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..errors import InputError, PotentialError, UntrustedError
from ..forks import end_in_children_of
from ..frame import Frame, Result
from ..potentials.base import Potential
from ..sections import OutputPath, Section
from ..streams import keep_standard_streams
from .failures import failed_evaluation
from .guard import Guard
from .transports import Disconnected, Link, NoServer, SocketConfig, connect
from .wire import EXIT, GETFORCE, INIT, POSDATA, SEGMENTS, STATUS, ClientConnection, Limits
from .wire.states import COMPUTING

log = logging.getLogger(__name__)

REPLICA_WORTHWHILE_SECONDS = 5e-2
"""For structures that take longer than this, asking for their replica every time (0.25 ms) is worth it."""


class DriverConfig(Section):
    """What the driver does when things go wrong, and when it ends."""

    on_error: Annotated[
        Literal["disconnect", "exit"],
        Field(description="after a failed evaluation: close the connection and reconnect, or end"),
    ] = "disconnect"
    max_consecutive_failures: Annotated[
        int, Field(ge=1, description="end after this many failed evaluations in a row")
    ] = 5
    failed_frames: Annotated[
        OutputPath,
        Field(
            description="folder in which structures of failed evaluations are saved (extended XYZ)",
            validate_default=True,
        ),
    ] = Path("failed_frames")
    connect_deadline_seconds: Annotated[
        float, Field(ge=0, description="how long to wait for a server, at the start and after a lost connection")
    ] = 300.0
    reconnect: Annotated[
        bool, Field(description="wait for the server to come back after a lost connection instead of ending")
    ] = True
    idle_timeout_seconds: Annotated[
        float | None, Field(gt=0, description="end when the server has asked for nothing for this long")
    ] = None
    lifetime_seconds: Annotated[
        float | None, Field(gt=0, description="end after this time, between two evaluations (for queue systems)")
    ] = None
    evaluation_deadline_seconds: Annotated[
        float | None,
        Field(gt=0, description="`launch` replaces a driver that has not answered for this long"),
    ] = None
    max_atoms: Annotated[int, Field(ge=1, description="largest number of atoms accepted from a server")] = (
        Limits.max_atoms
    )
    max_batch: Annotated[int, Field(ge=1, description="largest batch size accepted from a server")] = Limits.max_batch
    max_string_bytes: Annotated[
        int, Field(ge=64, description="longest INIT string accepted, and longest extras string sent")
    ] = Limits.max_string_bytes

    @property
    def limits(self) -> Limits:
        """The limits that the codec enforces."""
        return Limits(self.max_atoms, self.max_batch, self.max_string_bytes)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How serving ended, and how much was done.

    reason: "exit" (the server said EXIT), "signal", "idle", "lifetime", "disconnected" (only without `reconnect`).
    """

    reason: str
    evaluations: int
    failures: int
    connections: int


class _Signal(BaseException):
    """SIGTERM or SIGINT: interrupts whatever is going on."""


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGTERM and SIGINT raise `_Signal` inside; a second one is ignored, so that closing is not interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raised = False

    def handler(number: int, _: object) -> None:
        nonlocal raised
        if not raised:
            raised = True
            raise _Signal(signal.Signals(number).name)

    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def serve(
    potential: Potential,
    template: Frame,
    socket: SocketConfig,
    driver: DriverConfig,
    evaluating: AbstractContextManager = contextlib.nullcontext(),
) -> Outcome:
    """Serves `potential` to the server at `socket`; blocks until the server says EXIT, a limit is reached or a signal.

    template: species, periodicity and number of atoms of what the server sends. Its positions are not used.
    evaluating: a context that every evaluation runs in.

    In the main thread, SIGTERM and SIGINT abandon the evaluation at once and end cleanly.

    Raises `ProtocolError` if the peer does not keep to the protocol (another number of atoms than the template,
    garbage, positions that are not finite, ...), `PotentialError` after `max_consecutive_failures` or with
    `on_error = "exit"`, `NoServer` after the deadline, `InputError` for an impossible address or for a bad file that
    the potential (usually a bias) reads while it runs, `UntrustedError` of a potential that is not to go on.
    """
    keep_standard_streams()
    with Guard() as guard:
        session = _Session(potential, template, socket, driver, guard, evaluating)
        try:
            with _signals_raise():
                reason = session.run()
        except _Signal as stop:
            log.info("%s: leaving", stop)
            reason = "signal"
    log.info(
        "served %d structures over %d connections, %d failures",
        session.evaluations,
        session.connections,
        session.failures,
    )
    return Outcome(reason, session.evaluations, session.failures, session.connections)


class _Session:
    """The state of `serve` over all connections."""

    def __init__(
        self,
        potential: Potential,
        template: Frame,
        socket: SocketConfig,
        driver: DriverConfig,
        guard: Guard,
        evaluating: AbstractContextManager,
    ) -> None:
        self.potential, self.template, self.socket, self.driver = potential, template, socket, driver
        self.guard, self.evaluating = guard, evaluating
        self.evaluations = self.failures = self.connections = 0
        self.consecutive_failures = 0
        self.heard = False  # whether a server has sent anything over this connection
        self.silent_connections, self.silent_since = 0, time.monotonic()
        lifetime = driver.lifetime_seconds
        self.end_of_life = math.inf if lifetime is None else time.monotonic() + lifetime

    def run(self) -> str:
        """Connects, converses, reconnects, until there is a reason to end."""
        while True:
            connection = ClientConnection(self.template, self.driver.limits, self.socket.mode == "shm")
            try:
                left = self.end_of_life - time.monotonic()
                sock = connect(self.socket, min(self.driver.connect_deadline_seconds, left))
            except NoServer:
                if time.monotonic() >= self.end_of_life:
                    return "lifetime"
                raise
            self.guard.hold(sock)
            self.connections += 1
            self.heard = False
            self.compared = not self.template.pbc.all()  # without a volume there is nothing to compare
            try:
                with Link(sock, connection) as link:
                    log.info("connected to %s", self.socket)
                    self.potential.begin_connection()
                    return self._converse(link)
            except Disconnected as error:
                log.warning("%s", error)
                if not self.driver.reconnect:
                    return "disconnected"
            except PotentialError:
                if self.driver.on_error == "exit":
                    raise
                if self.consecutive_failures >= self.driver.max_consecutive_failures:
                    log.error("%d evaluations in a row failed: giving up", self.consecutive_failures)
                    raise
            self._count_silence()
            # lets another client take the structure
            time.sleep(min(0.1 * 2 ** max(self.consecutive_failures, min(self.silent_connections, 9)), 5.0))

    def _count_silence(self) -> None:
        """A tunnel accepts connections, and closes them, also if there is no server at its other end."""
        if self.heard:
            self.silent_connections, self.silent_since = 0, time.monotonic()
            return
        self.silent_connections += 1
        if time.monotonic() - self.silent_since > (limit := self.driver.connect_deadline_seconds):
            text = f"{self.socket} accepts connections and closes them: a tunnel without a server at its other end?"
            raise NoServer(f"no server within {limit:g} s: {text}")

    def _converse(self, link: Link[ClientConnection]) -> str:
        """One connection, until EXIT or a limit; returns why it ended."""
        connection = link.connection
        next_message, send = link.next_message, link.send
        evaluations, quiet_since = self.evaluations, time.monotonic()
        while True:
            message = next_message()
            if message == POSDATA:
                continue  # computed once the message that follows has been read
            if message == STATUS:
                self.heard = True
                if connection.state is COMPUTING:
                    self._compute(connection)
                send(connection.answer())
            elif message == GETFORCE:
                if connection.state is COMPUTING:
                    self._compute(connection)
                send(*connection.forces())
                if time.monotonic() > self.end_of_life:
                    return "lifetime"
            elif message is None:
                if connection.state is COMPUTING:  # a server that waits before asking
                    self._compute(connection)
                now = time.monotonic()
                if self.evaluations > evaluations:
                    evaluations, quiet_since = self.evaluations, now
                elif now - quiet_since > (self.driver.idle_timeout_seconds or math.inf):
                    return "idle"
                elif now > self.end_of_life:
                    return "lifetime"
            elif message == INIT:
                log.debug("INIT: replica %d, batch %d, %r", connection.replica, connection.batch, connection.parameters)
            elif message == SEGMENTS:
                link.attach_segments()
            elif message == EXIT:
                log.info("the server said EXIT")
                return "exit"

    def _compare_volume(self, frame: Frame) -> None:
        """Warns of a cell unlike the template's: nothing else tells a driver that it has reached the wrong server."""
        self.compared = True
        ratio = abs(np.linalg.det(frame.cell) / np.linalg.det(self.template.cell))
        if not 0.5 < ratio < 2:
            log.warning(
                "the cell at %s has %.3g times the volume of the template's: is this the right simulation, and "
                "its cell_units right?",
                self.socket,
                ratio,
            )

    def _evaluate(self, frames: list[Frame]) -> list[Result]:
        process = os.getpid()
        try:
            return self.potential.compute(frames)
        finally:
            end_in_children_of(process)
            keep_standard_streams()

    def _compute(self, connection: ClientConnection) -> None:
        """Results for the frames of the connection; `PotentialError` after logging and saving what failed."""
        frames = connection.frames
        if not self.compared:
            self._compare_volume(frames[0])
        for frame in frames:
            frame.number = self.evaluations
            self.evaluations += 1
        begin = time.perf_counter()
        try:
            with self.evaluating:
                connection.set_results(self._evaluate(frames))
        except (InputError, UntrustedError, _Signal):  # trying again is no use: a bad file stays bad, a policy stays
            raise
        except KeyboardInterrupt:  # not from us: somebody has changed what SIGINT does
            log.error("KeyboardInterrupt within structure %d of this driver: leaving", frames[0].number)
            raise
        except BaseException as error:  # a calculator that calls sys.exit has failed like any other
            self.failures += 1
            self.consecutive_failures += 1
            failure = failed_evaluation(frames, error, self.driver.failed_frames)
            log.error("%s", failure, exc_info=None if isinstance(error, PotentialError) else error)
            raise failure from error
        self.consecutive_failures = 0
        slow = time.perf_counter() - begin > REPLICA_WORTHWHILE_SECONDS
        connection.wants_init = (
            slow or self.failures > 0
        )  # after one failure the next is likely: its replica is worth knowing
