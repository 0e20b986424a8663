"""The other role of the protocol: a server whose clients compute, each one structure at a time.

The messages go as i-PI 3 sends them: POSDATA and GETFORCE together, STATUS behind each result. What can happen to a
client (it dies, hangs, leaves, sends what the protocol does not allow) costs it its structure, which another one gets;
a program that was started here is started again.
"""

import contextlib
import logging
import os
import selectors
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import numpy as np

from .. import processes
from ..errors import InputError, PotentialError, ProtocolError
from ..forks import close_in_children
from ..frame import Array, Frame, Result
from ..results import problem_of
from ..sockets import prepare_tcp
from . import wire
from .transports import Disconnected, Link

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""How often processes and deadlines are looked at while nothing comes in."""
GRACE_SECONDS = 2.0
"""What clients are given to end after EXIT."""
TAIL_LINES = 8


@dataclass(eq=False)
class Client:
    """One connection. job: the index of the structure that it computes. ready: whether it wants one."""

    link: Link[wire.ServerConnection]
    sock: socket.socket
    name: str
    job: int | None = None
    since: float = 0.0
    ready: bool = False


@dataclass(frozen=True)
class Program:
    """What starts a client: its command, the folder it runs in, and the file that its output goes to."""

    command: Sequence[str]
    folder: Path
    log: Path
    environment: Mapping[str, str]

    def tail(self) -> str:
        """The last lines of its output, for messages."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        except OSError:
            return ""
        return f"; the end of {self.log}:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""


@dataclass
class Running:
    """A program with its process. deaths: since the last result of any of them."""

    program: Program
    process: Popen | None = None
    deaths: int = 0


@dataclass(frozen=True)
class Terms:
    """On what terms clients are served.

    start_seconds: how long a structure waits for any client. compute_seconds: how long a client may take for one;
    None: for ever. attempts: how many clients a structure may cost, and how often a program may die without a result.
    parameters: the text of INIT.
    """

    start_seconds: float = 300.0
    compute_seconds: float | None = None
    attempts: int = 3
    parameters: str = " "


class ClientPool:
    """Clients of one listening socket, and the programs that were started to be these.

    Args:
        listener: the socket, which this object closes.
        atoms: of every structure.
        programs: started at the first structure, and again when they die; none: clients come by themselves.
        terms: see `Terms`.
    """

    def __init__(
        self,
        listener: socket.socket,
        atoms: int,
        programs: Sequence[Program] = (),
        terms: Terms = Terms(),
    ) -> None:
        self._listener, self._atoms = listener, atoms
        self._running = [Running(program) for program in programs]
        self._terms = terms
        self._clients: list[Client] = []
        self._lost: list[int] = []
        self._last_loss = ""
        self._count = 0
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        """The results of structures, in their order.

        Raises `PotentialError` if a structure has cost `attempts` clients, if a result is not finite, or if there is no
        client in time.
        """
        waiting = deque(range(len(frames)))
        results: dict[int, Result] = {}
        lost: Counter[int] = Counter()
        came = True
        self._had_client = time.monotonic()
        try:
            for client in [c for c in self._clients if not c.ready]:
                self._listen_to(client, wait=False)  # what it has said since, before the selector is asked
            while len(results) < len(frames):
                if not came or len(self._clients) < len(self._running):
                    self._keep_running()
                for client in [c for c in self._clients if c.ready]:
                    if waiting:
                        self._give(client, frames, waiting)
                came = self._take_in(results, more=bool(waiting))
                self._look_at_deadlines()
                if self._lost:
                    self._give_back(waiting, lost)
        except BaseException:
            for client in [c for c in self._clients if c.job is not None]:
                self._drop(client, "its structure is not wanted any more")  # its answer would be taken for another's
            self._lost.clear()
            raise
        return [results[k] for k in range(len(frames))]

    def close(self) -> None:
        """EXIT to all clients; programs that were started here have ended when this returns."""
        for client in list(self._clients):
            with contextlib.suppress(Disconnected):
                client.link.send(wire.EXIT)
            self._drop(client)
        self._selector.close()
        self._listener.close()
        started = [running.process for running in self._running if running.process]
        processes.wait(started, GRACE_SECONDS)
        processes.end(started, GRACE_SECONDS)

    def _give_back(self, waiting: "deque[int]", lost: Counter[int]) -> None:
        """Lets other clients compute what clients were lost with; `lost` counts them for each structure."""
        lost.update(self._lost)
        waiting.extendleft(self._lost)
        self._lost.clear()
        if max(lost.values()) >= self._terms.attempts:
            raise PotentialError(
                f"{self._terms.attempts} clients were lost with one structure ({self._last_loss})" + self._tails()
            )

    def _take_in(self, results: dict[int, Result], more: bool) -> bool:
        """Takes in what has come, or comes within a moment; results by the index of the structure. Whether any came.

        more: whether structures wait for another client. If not, and there is only one, it is read without the
        selector: one system call less.
        """
        if len(self._clients) == 1 >= len(self._running) and not (more and self._clients[0].job is not None):
            return self._hear(self._clients[0], results)
        events = self._selector.select(LOOK_SECONDS)
        for key, _ in events:
            if key.data is None:
                self._accept()
            else:
                self._hear(key.data, results)
        return bool(events)

    def _hear(self, client: Client, results: dict[int, Result]) -> bool:
        """Takes in a message of the client, if it comes within `TICK_SECONDS`. Whether one has come."""
        done = self._listen_to(client)
        if done is not None:
            results[done] = self._checked(client)
        return client.ready or done is not None

    def _keep_running(self) -> None:
        """Starts the programs, and those again that have died."""
        for running in self._running:
            if running.process is not None and not processes.ended(running.process):
                continue
            if running.process is not None:
                running.deaths += 1
                how = processes.describe_end(running.process.returncode)
                if running.deaths >= self._terms.attempts:
                    raise PotentialError(
                        f"{' '.join(running.program.command)} has ended {running.deaths} times without a result "
                        f"({how}){running.program.tail()}"
                    )
                log.warning("%s has ended (%s): it is started again", running.program.command[0], how)
            self._start(running)

    def _start(self, running: Running) -> None:
        program = running.program
        try:
            program.folder.mkdir(parents=True, exist_ok=True)
            running.process = processes.start(program.command, program.folder, program.log, program.environment)
        except OSError as error:
            raise InputError(
                f"command: {program.command[0]} cannot be started in {program.folder}: {error.strerror}"
            ) from error

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            sock, peer = self._listener.accept()
            close_in_children(sock)
            if sock.family == socket.AF_INET:
                prepare_tcp(sock)
            self._count += 1
            client = Client(Link(sock, wire.ServerConnection(self._atoms)), sock, f"client {self._count}")
            self._clients.append(client)
            self._selector.register(sock, selectors.EVENT_READ, client)
            log.info("%s has connected%s", client.name, f" from {peer[0]}" if peer else "")
            self._send(client, wire.STATUS)

    def _send(self, client: Client, *buffers: bytes | memoryview) -> None:
        try:
            client.link.send(*buffers)
        except Disconnected as error:
            self._drop(client, str(error))

    def _give(self, client: Client, frames: Sequence[Frame], waiting: "deque[int]") -> None:
        client.job, client.ready, client.since = waiting.popleft(), False, time.monotonic()
        self._send(client, *client.link.connection.positions([frames[client.job]]))

    def _listen_to(self, client: Client, wait: bool = True) -> int | None:
        """Takes in what the client says; the index of the structure whose result it is."""
        try:
            message = client.link.next_message(wait)
            if message is None:
                return None
            if (message == wire.FORCEREADY) != (client.job is not None):
                word = message.decode().rstrip()
                raise ProtocolError(f"it sent {word} {'instead of' if client.job is not None else 'without'} a result")
        except Disconnected as error:
            self._drop(client, str(error))
            return None
        except ProtocolError as error:
            self._drop(client, f"it breaks the protocol: {error}")
            raise PotentialError(f"{client.name} breaks the protocol: {error}{self._tails()}") from error
        if message == wire.FORCEREADY:
            done, client.job = client.job, None
            self._send(client, wire.STATUS)
            return done
        if message == wire.NEEDINIT:
            self._send(client, client.link.connection.init(0, self._terms.parameters), wire.STATUS)
        client.ready = message == wire.READY
        return None

    def _checked(self, client: Client) -> Result:
        result = client.link.connection.results[0]
        result.extras = wire.in_ev_and_angstrom(result.extras)
        result.virial = whole_virial(result.virial)
        if problem := problem_of(result, len(result.forces)):
            raise PotentialError(f"{client.name} gives {problem}{self._tails()}")
        for running in self._running:
            running.deaths = 0
        return result

    def _look_at_deadlines(self) -> None:
        now, limit = time.monotonic(), self._terms.compute_seconds
        for client in [c for c in self._clients if limit and c.job is not None and now - c.since > limit]:
            self._drop(client, f"it has computed for more than {limit:g} s (deadline_seconds)")
        if self._clients:
            self._had_client = now
        elif now - self._had_client > self._terms.start_seconds:
            raise PotentialError(
                f"no client has connected within {self._terms.start_seconds:g} s (start_deadline_seconds)"
                + self._tails()
            )

    def _drop(self, client: Client, why: str = "") -> None:
        """Ends a connection, and the program behind it if something was wrong; its structure is lost."""
        if client not in self._clients:
            return
        self._clients.remove(client)
        self._selector.unregister(client.sock)
        running = self._program_of(client) if why else None
        client.link.close()
        if running is not None and running.process is not None:
            if processes.wait([running.process], LOOK_SECONDS):
                why += f"; its program has ended ({processes.describe_end(running.process.returncode)})"
            processes.end([running.process], GRACE_SECONDS)
        if why:
            log.warning("%s is given up: %s", client.name, why)
        if client.job is not None:
            self._lost.append(client.job)
            self._last_loss = why

    def _program_of(self, client: Client) -> Running | None:
        """Which of the programs that were started here has made a connection, as far as that can be known."""
        if len(self._running) == 1:
            return self._running[0]
        with contextlib.suppress(OSError, AttributeError):  # TCP, or not Linux
            pid, _, _ = struct.unpack("3i", client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            session = os.getsid(pid)  # each of them began one
            return next((r for r in self._running if r.process is not None and r.process.pid == session), None)
        return None

    def _tails(self) -> str:
        return "".join(running.program.tail() for running in self._running)


def whole_virial(virial: Array) -> Array:
    """A symmetric virial (3, 3): LAMMPS's `fix ipi` sends one triangle of it, for i-PI reads no more."""
    if virial.tobytes() == virial.T.tobytes():
        return virial
    upper, lower = np.triu(virial, 1), np.tril(virial, -1)
    if not lower.any() or not upper.any():
        return virial + (upper + lower).T
    return (virial + virial.T) / 2
