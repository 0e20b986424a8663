"""Any program that speaks i-PI's protocol as a client: a DFT code, LAMMPS, a driver of i-PI."""

import contextlib
import os
import shlex
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from ..errors import InputError
from ..frame import Frame, Result
from ..ipi.clients import ClientPool, Program, Terms
from ..ipi.transports import SocketConfig, listen
from ..sections import OutputPath, Section
from ..turns import in_turn
from .base import Potential

Command = Annotated[
    list[str],
    Field(min_length=1),
    BeforeValidator(lambda value: shlex.split(value) if isinstance(value, str) else value),
]
"""A command line, or its words."""


class SocketPotentialConfig(Section):
    """`kind = "socket"`: a program that connects to us as it would to i-PI.

    command: what starts it; left out: it is started elsewhere. In its words {address} and {port} are those of the
        socket, {client} is the number of the client.
    socket: where we listen, mode "unix" or "inet". Left out: a unix socket of its own, for commands with {address}.
    clients: how many are started, or expected: a batch of beads is dealt out to them.
    folder: where each runs, {client} in its name as in the command; its output goes to `client.log` there.
    environment: variables in addition to those of this process.
    start_deadline_seconds: how long the first client may take to connect.
    deadline_seconds: how long a structure may take; the client that takes longer is started again. None: for ever.
    attempts: how many clients one structure may cost, and how often a program may end without a result.
    parameters: what INIT tells the client.
    """

    kind: Literal["socket"]
    command: Command | None = None
    socket: SocketConfig | None = None
    clients: PositiveInt = 1
    folder: OutputPath = Field(default=Path("client-{client}"), validate_default=True)
    environment: dict[str, str] = Field(default_factory=dict)
    start_deadline_seconds: PositiveFloat = 300.0
    deadline_seconds: PositiveFloat | None = None
    attempts: PositiveInt = 3
    parameters: str = " "

    @model_validator(mode="after")
    def _can_meet(self) -> "SocketPotentialConfig":
        if self.socket is None and not any("{address}" in word for word in self.command or ()):
            raise ValueError("give socket, where we listen; or a command with {address}, which gets one of its own")
        if self.socket is not None and self.socket.mode == "shm":
            raise ValueError("socket.mode: clients are served by unix or inet")
        if self.command and self.clients > 1 and "{client}" not in str(self.folder):
            raise ValueError("folder: several clients need folders of their own: put {client} into its name")
        if not self.parameters.isascii():
            raise ValueError("parameters: only ASCII characters pass the protocol")
        return self

    def build(self, template: Frame) -> "SocketPotential":
        """The potential; its programs are started with the first structure. `InputError` if we cannot listen."""
        where = self.socket or SocketConfig(address=f"forceserver-{os.getpid()}-{os.urandom(3).hex()}")
        return SocketPotential(
            where,
            len(template),
            [self._program(where, number) for number in range(self.clients)] if self.command else [],
            Terms(self.start_deadline_seconds, self.deadline_seconds, self.attempts, self.parameters),
        )

    def _program(self, where: SocketConfig, number: int) -> Program:
        names = {"address": where.address, "port": str(where.port or ""), "client": str(number)}

        def filled(text: str) -> str:
            for name, value in names.items():
                text = text.replace(f"{{{name}}}", value)
            return text

        words = [filled(word) for word in self.command or ()]
        found = shutil.which(words[0], path=self.environment.get("PATH", os.environ.get("PATH")))
        if found is None:
            raise InputError(f"command: there is no program {words[0]}; give its path, or load what has it")
        folder = Path(filled(str(self.folder)))
        environment = {**os.environ, **{key: filled(value) for key, value in self.environment.items()}}
        return Program([os.path.abspath(found), *words[1:]], folder, folder / "client.log", environment)


class SocketPotential(Potential):
    """What clients of a socket compute. It knows only numbers of atoms: their order is that of the client's own input.

    Args:
        where: the socket at which clients find it.
        atoms: of every structure.
        programs: what to start as clients; none: they come by themselves.
        terms: on what terms clients are served.

    Raises:
        InputError: the address is in use, or cannot be had.
    """

    def __init__(
        self,
        where: SocketConfig,
        atoms: int,
        programs: Sequence[Program] = (),
        terms: Terms = Terms(),
    ) -> None:
        with contextlib.ExitStack() as stack:
            listener: socket.socket = stack.enter_context(listen(where, backlog=64))
            self._pool = ClientPool(listener, atoms, programs, terms)
            stack.callback(self._pool.close)
            self._open = stack.pop_all()

    @in_turn
    def compute_one(self, frame: Frame) -> Result:
        """Computes one frame.

        Args:
            frame: the structure.

        Returns:
            What a client computes: energy (eV), forces (N, 3) in eV/Angstrom, virial (3, 3) in eV, and its extras.

        Raises:
            PotentialError: no client came in time, too many were lost with this structure, one broke the protocol (it
                has another number of atoms), or its numbers are not finite.
        """
        return self._pool.compute([frame])[0]

    @in_turn
    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        """The frames, dealt out to the clients; errors as in `compute_one`."""
        return self._pool.compute(frames)

    def close(self) -> None:
        """Tells the clients to leave, and ends those that were started here."""
        self._open.close()
