"""The CV server: collective variables for PLUMED, any number of clients at once, beside the drivers of a process.

One thread waits for clients, one thread serves each of them; the sums over pairs release Python's lock. A client has
its own neighbour list, so walkers and replicas do not disturb each other. Whatever a client sends or fails to send ends
at most its own connection: sizes are checked before memory is allocated, a message once begun must be completed within
`PATIENCE`, and there are at most `max_clients`. When all places are taken, the client that has been idle longest makes
room for a new one, if it has been idle for more than `IDLE_SECONDS`; the action reconnects when it needs to.

On the same machine the numbers pass through shared memory: an anonymous segment (memfd) that is sealed, so that a
client cannot shrink it under the server, and that vanishes with the last of the two processes, whatever kills them.
"""

import contextlib
import fcntl
import logging
import math
import mmap
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from ..cv import CollectiveVariable
from ..errors import FAILURES, ForceServerError, InputError, ProtocolError
from ..files import reserve
from ..forks import close_in_children
from ..frame import Array
from ..sections import Section
from ..sockets import SUN_PATH_BYTES, prepare_tcp, remove_dead
from . import protocol
from .protocol import BlockLayout, Kind

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds within which HELLO, and the rest of any message, must come."""


OTHER_UNITS = 6.0
"""A factor between volumes that is one of units: of Bohr for Angstrom it is 6.7."""


IDLE_SECONDS = 5.0
"""A client that has been idle for this long may be replaced."""


class CVServerConfig(Section):
    """Section [cv_server]: where PLUMED finds the collective variables."""

    address: str = Field(
        description="path of a unix socket (absolute, at most 107 bytes), or host:port; TCP is not protected, so"
        " use it only in networks that you trust"
    )
    max_clients: int = Field(default=256, ge=1, description="connections at a time; idle ones make room for new ones")

    @field_validator("address")
    @classmethod
    def _is_address(cls, address: str) -> str:
        if address.startswith("/"):
            if len(os.fsencode(address)) > SUN_PATH_BYTES:
                raise ValueError(f"a socket path may have at most {SUN_PATH_BYTES} bytes")
            return address
        host, colon, port = address.rpartition(":")
        if not (colon and host and port.isdecimal() and int(port) < 65536):
            raise ValueError("must be an absolute path or host:port")
        return address

    @property
    def place(self) -> str | int:
        """The path of the socket, or the port: no two servers of one machine can share it."""
        return os.path.abspath(self.address) if self.address.startswith("/") else int(self.address.rpartition(":")[2])

    def __str__(self) -> str:
        return self.address


class CVServer:
    """Serves `variables` (by name) at the configured address, from construction until `close`.

    Raises `InputError` if the address cannot be used: another server listens there, or it is not a socket.
    """

    def __init__(self, config: CVServerConfig, variables: Mapping[str, CollectiveVariable]) -> None:
        self._variables = dict(variables)
        self._max_clients = config.max_clients
        self._path = Path(config.address) if config.address.startswith("/") else None
        self._clients: dict[socket.socket, tuple[threading.Thread, _Client]] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._socket = _listen_unix(self._path) if self._path else _listen_tcp(config.address)
        close_in_children(self._socket)
        self._inode = os.stat(self._path).st_ino if self._path else None
        self._thread = threading.Thread(target=self._accept, name="cv-server", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where clients find the server, as the action's ADDRESS."""
        if self._path:
            return str(self._path)
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def n_clients(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._clients)

    def close(self) -> None:
        """Closes the server and all connections, and waits for the threads."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if self._path:
            with contextlib.suppress(OSError):
                if os.stat(self._path).st_ino == self._inode:
                    self._path.unlink()
        self._thread.join()
        with self._lock:
            clients = dict(self._clients)
        for connection in clients:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread, _ in clients.values():
            thread.join()

    def __enter__(self) -> "CVServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                if self._closing:
                    return
                log.error("the CV server cannot accept a client: %s", error)  # most likely out of file descriptors
                time.sleep(0.1)
                continue
            close_in_children(connection)
            if not self._admit(connection):
                connection.settimeout(0.1)
                with connection, contextlib.suppress(OSError):
                    connection.recv(protocol.MAX_HELLO)  # so that closing does not break its sending
                    connection.sendall(protocol.pack_error(f"there are already {self.n_clients} clients"))

    def _admit(self, connection: socket.socket) -> bool:
        """Gives the client a thread, replacing an idle client if need be; False if there is no room."""
        with self._lock:
            if len(self._clients) >= self._max_clients and not self._end_an_idle_one():
                return False
            client = _Client(connection, self._variables)
            thread = threading.Thread(target=self._serve, args=(connection, client), name="cv-client", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system is out of threads
                return False
            self._clients[connection] = thread, client  # removed by the thread, which waits for the lock
            return True

    def _end_an_idle_one(self) -> bool:
        """Ends the connection that has been idle longest, if any is idle."""
        connection, (_, client) = min(self._clients.items(), key=lambda item: item[1][1].idle_since)
        if time.monotonic() - client.idle_since < IDLE_SECONDS:
            return False
        log.info("an idle client of the CV server makes room for another")
        client.idle_since = math.inf
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # its thread sees the end of the stream
        return True

    def _serve(self, connection: socket.socket, client: "_Client") -> None:
        try:
            with connection:
                client.run()
        finally:
            with self._lock:
                del self._clients[connection]


class _Client:
    """One client, from HELLO to the end of its connection.

    idle_since: when it was last answered (monotonic clock); inf while it is answered.
    """

    def __init__(self, connection: socket.socket, variables: Mapping[str, CollectiveVariable]) -> None:
        self._connection = connection
        self._variables = variables
        self.idle_since = time.monotonic()

    def run(self) -> None:
        try:
            if self._connection.family != socket.AF_UNIX:
                prepare_tcp(self._connection)
            self._connection.settimeout(PATIENCE)
            self._evaluate_all(self._receive_hello())
        except ForceServerError as error:
            log.warning("a client of the CV server was dropped: %s", error)
            self._say_error(str(error))
        except (OSError, EOFError) as error:
            log.info("a client of the CV server is gone: %s", error)
        except FAILURES as error:
            log.exception("a client of the CV server was dropped because of an error in the server")
            self._say_error(f"an error in the server, see its log: {type(error).__name__}: {error}")

    def _say_error(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._connection.settimeout(PATIENCE)
            self._connection.sendall(protocol.pack_error(text))

    def _receive_hello(self) -> protocol.Hello:
        header = self._receive(protocol.HEADER.size)
        length = protocol.unpack_header(header, Kind.HELLO, range(protocol.HELLO.size, protocol.MAX_HELLO + 1))
        return protocol.unpack_hello(self._receive(length))

    def _evaluate_all(self, hello: protocol.Hello) -> None:
        variable = self._variable(hello)
        layout = BlockLayout(len(variable.atoms), len(variable.outputs))
        shared = hello.shared_memory and self._connection.family == socket.AF_UNIX and hasattr(os, "memfd_create")
        description = protocol.pack_description(variable.atoms, variable.masses, variable.outputs, shared)
        if shared:
            with _sealed_memory(layout.size) as fd:
                socket.send_fds(self._connection, [description[:1]], [fd])
                memory: mmap.mmap | bytearray = mmap.mmap(fd, layout.size)
            self._connection.sendall(description[1:])
        else:
            memory = bytearray(layout.size)
            self._connection.sendall(description)
        buffer = memoryview(memory)
        lengths = range(1) if shared else range(layout.request_bytes, layout.request_bytes + 1)
        is_first = True
        while self._begin_message(lengths):
            if not shared:
                self._receive_into(buffer[: layout.request_bytes])
            self.idle_since = math.inf
            positions, cell = layout.read_request(buffer)
            if is_first:
                _check_volume(cell, variable.volume)
                is_first = False
            result = variable.compute_atoms(positions, cell, np.asarray(cell.any(axis=1)))
            length = layout.write_reply(buffer, result)
            count = protocol.COUNT.pack(len(result.active))
            if shared:
                self._connection.sendall(protocol.message(Kind.VALUES, count))
            else:
                reply = buffer[layout.request_bytes : layout.request_bytes + length]
                self._connection.sendall(protocol.message(Kind.VALUES, count, reply))
            self.idle_since = time.monotonic()

    def _variable(self, hello: protocol.Hello) -> CollectiveVariable:
        if hello.name not in self._variables:
            raise ProtocolError(
                f"there is no collective variable {hello.name[:80]!r}; there are {', '.join(self._variables)}"
            )
        variable = self._variables[hello.name]
        if hello.atoms != variable.total_atoms:
            raise ProtocolError(
                f"the client has {hello.atoms} atoms, the structure in the configuration has {variable.total_atoms}"
            )
        return variable.copy()

    def _begin_message(self, lengths: range) -> bool:
        """Waits as long as it takes for the next POSITIONS; False if the client left between two messages."""
        self._connection.settimeout(None)
        first = self._connection.recv(protocol.HEADER.size)
        if not first:
            return False
        if len(first) < protocol.HEADER.size:
            first += self._receive(protocol.HEADER.size - len(first))
        protocol.unpack_header(first, Kind.POSITIONS, lengths)
        return True

    def _receive(self, length: int) -> bytes:
        data = bytearray(length)
        self._receive_into(memoryview(data))
        return bytes(data)

    def _receive_into(self, view: memoryview) -> None:
        deadline = time.monotonic() + PATIENCE
        while view:
            self._connection.settimeout(max(deadline - time.monotonic(), 1e-3))
            count = self._connection.recv_into(view)
            if count == 0:
                raise EOFError("in the middle of a message")
            view = view[count:]


def _check_volume(cell: Array, expected: float | None) -> None:
    """`ProtocolError` if a cell (3, 3) is too unlike that of the structure file to be in Angstrom.

    A singular one is left to the variable; `expected` is None if the structure file has none.
    """
    volume = abs(float(np.linalg.det(cell)))
    if expected and volume > 0 and not 1 / OTHER_UNITS < volume / expected < OTHER_UNITS:
        raise ProtocolError(
            f"the cell has {volume / expected:.3g} times the volume of that in the structure file: are lengths in "
            "other units (--length-units of plumed driver)? If not, put the present cell into the structure file"
        )


@contextlib.contextmanager
def _sealed_memory(size: int):
    """The file descriptor of anonymous memory that nobody can resize."""
    fd = os.memfd_create("forceserver-cv", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        reserve(fd, size, Path("shared memory"))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        yield fd
    finally:
        os.close(fd)


def _listen_unix(path: Path) -> socket.socket:
    """A listening socket that only this user can connect to; replaces one that nobody listens at any more."""
    remove_dead(path, "cv_server.address")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)  # Linux gives these bits to the file, so that it is never open to others
        listener.bind(str(path))
        os.chmod(path, 0o600)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InputError(f"cv_server.address: cannot listen at {path}: {error.strerror}") from error
    return listener


def _listen_tcp(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        family, _, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        return socket.create_server(where, family=family, backlog=128)
    except OSError as error:
        raise InputError(f"cv_server.address: cannot listen at {address}: {error.strerror or error}") from error
