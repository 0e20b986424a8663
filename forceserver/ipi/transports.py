"""Sockets and shared memory beneath the i-PI protocol: where to connect, one connection, the six segments.

A reply is sent with one system call (several small TCP segments cost 44 ms per step, and a fragmented answer to STATUS
costs the connection). TCP has Nagle's algorithm off and keep-alive on. A socket is closed only when everything in it
has been read: otherwise the kernel would report "connection reset" to the peer, which i-PI does not survive.
"""

import contextlib
import logging
import mmap
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from ..errors import ForceServerError, InputError, ProtocolError
from ..files import reserve
from ..forks import close_in_children, no_longer
from ..frame import Array
from ..locks import try_lock
from ..sections import Section
from ..sockets import SUN_PATH_BYTES, prepare_tcp, remove_dead
from .wire import ClientConnection, ServerConnection, segment_shapes

UNIX_SEND_BUFFER = 1 << 20
"""Lets a long reply leave without waiting for the server to read: 250 us instead of 275 at 32 768 atoms.

The kernel uses less if its limit is lower. TCP tunes its buffers itself.
"""
TICK_SECONDS = 0.5
"""How often an idle link returns control to its owner."""

log = logging.getLogger(__name__)


class Disconnected(ForceServerError):
    """The peer closed the connection, or it broke."""


class NoServer(ForceServerError):
    """No server could be reached before the deadline (exit code 2)."""

    exit_code = 2


class SocketConfig(Section):
    """Where the server listens, in the terms of i-PI's `<ffsocket>`."""

    mode: Annotated[
        Literal["unix", "inet", "shm"],
        Field(description="unix: a local socket; inet: TCP; shm: a local socket, the numbers through shared memory"),
    ] = "unix"
    address: Annotated[
        str, Field(min_length=1, description="unix, shm: name of the socket; inet: host name or IPv4 address")
    ] = "localhost"
    port: Annotated[int | None, Field(ge=1, le=65535, description="inet only: the TCP port")] = None
    prefix: Annotated[
        str, Field(description="unix, shm: what i-PI puts in front of the address (its `sockets_prefix`, option -S)")
    ] = "/tmp/ipi_"

    _folder: str = PrivateAttr(default_factory=os.getcwd)
    """What a relative path is relative to, even if a model changes the working directory."""

    @model_validator(mode="after")
    def _fits(self) -> "SocketConfig":
        if self.mode == "inet":
            if self.port is None:
                raise ValueError("mode 'inet' needs a port (1 to 65535)")
        elif self.port is not None:
            raise ValueError(f"mode '{self.mode}' has no port; it is a key of mode 'inet'")
        elif len(os.fsencode(self.path)) > SUN_PATH_BYTES:
            raise ValueError(
                f"prefix + address is a path of {len(os.fsencode(self.path))} bytes, a unix socket can have "
                f"{SUN_PATH_BYTES}: {self.path}"
            )
        return self

    @property
    def path(self) -> str:
        """Path of the unix socket."""
        return self.prefix + self.address

    @property
    def reachable_path(self) -> str:
        """The path relative to the working directory, in its shortest form: names of sockets may not be long."""
        full = os.path.join(self._folder, self.path)
        try:
            return self.path if os.getcwd() == self._folder else min(full, os.path.relpath(full), key=len)
        except FileNotFoundError:  # the model is in a folder that has been removed
            return full

    @property
    def place(self) -> str | int:
        """The path of the socket, or the port: no two servers of one machine can share it."""
        return os.path.abspath(self.path) if self.port is None else self.port

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.mode == "inet" else self.path


def _connect_once(config: SocketConfig) -> socket.socket:
    if config.mode == "inet":
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        target: tuple[str, int] | str = (config.address, config.port or 0)
    else:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_SEND_BUFFER)
        target = config.reachable_path
    close_in_children(sock)
    try:
        sock.settimeout(10.0)
        sock.connect(target)
        sock.settimeout(None)
        if config.mode == "inet":
            prepare_tcp(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def connect(config: SocketConfig, deadline_seconds: float) -> socket.socket:
    """A socket connected to the server, which may start later.

    Tries again after 50 ms, doubling up to 2 s.

    Raises `NoServer` after the deadline, `InputError` if waiting is no use (unknown host, no permission).
    """
    deadline = time.monotonic() + deadline_seconds
    pause = 0.05
    told = False
    while True:
        try:
            return _connect_once(config)
        except socket.gaierror as error:
            if error.errno != socket.EAI_AGAIN:
                raise InputError(f"cannot find the host {config.address!r}: {error.strerror}") from error
            reason = error.strerror
        except PermissionError as error:
            raise InputError(f"no permission to connect to {config}") from error
        except OSError as error:
            reason = error.strerror or str(error)
        left = deadline - time.monotonic()
        if left <= 0:
            raise NoServer(f"no server at {config} within {deadline_seconds:g} s: {reason}{_advice(config)}")
        if not told:
            log.info("waiting for a server at %s (%s)", config, reason)
            told = True
        time.sleep(min(pause, left))
        pause = min(2 * pause, 2.0)


def _advice(config: SocketConfig) -> str:
    if config.mode == "inet":
        return ""
    return (
        f"; i-PI listens there if its <simulation> has sockets_prefix='{config.prefix}' "
        "(without that, and without a prefix here, at /tmp/ipi_ and the address)"
    )


Peer = TypeVar("Peer", ClientConnection, ServerConnection)


class Link(Generic[Peer]):
    """One connected socket with its end of the protocol.

    Use as a context manager: leaving it drains and closes the socket and lets go of the shared memory.
    """

    def __init__(self, sock: socket.socket, connection: Peer) -> None:
        self.connection: Peer = connection
        self._sock = sock
        self._receive_into, self._send_all = sock.recv_into, sock.sendall
        self._segments: Segments | None = None
        # A blocking socket with a receive timeout in the kernel costs one system call, Python's own timeout two.
        sock.setblocking(True)
        seconds = int(TICK_SECONDS)
        timeout = struct.pack("ll", seconds, int((TICK_SECONDS - seconds) * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)

    def __enter__(self) -> "Link[Peer]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def next_message(self, wait: bool = True) -> bytes | None:
        """The next message of the peer; `None` if nothing has come for `TICK_SECONDS`, or, without `wait`, yet.

        Raises `Disconnected` at the end of the stream, `ProtocolError` for what the protocol does not allow.
        """
        connection = self.connection
        while (message := connection.next_message()) is None:
            try:
                count = self._receive_into(connection.space(), 0, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except OSError as error:
                raise Disconnected(f"the connection broke: {error.strerror}") from error
            if not count:
                raise Disconnected(self._end_of_stream())
            connection.received(count)
        return message

    def _end_of_stream(self) -> str:
        unread = self.connection.unread()
        where = f" in the middle of a message that starts with {unread!r}" if unread else ""
        return f"the peer closed the connection{where}"

    def send(self, *buffers: bytes | memoryview) -> None:
        """Sends the buffers as one message, with one system call unless the kernel splits it."""
        try:
            if len(buffers) == 1:
                self._send_all(buffers[0])
            else:
                self._send_several(buffers)
        except OSError as error:
            raise Disconnected(f"the connection broke: {error.strerror}") from error

    def _send_several(self, buffers: Sequence[bytes | memoryview]) -> None:
        sent = self._sock.sendmsg(buffers)
        for buffer in buffers:
            if sent < len(buffer):
                self._sock.sendall(memoryview(buffer)[sent:])
            sent = max(0, sent - len(buffer))

    def attach_segments(self: "Link[ClientConnection]") -> None:
        """Maps the shared memory that the server named."""
        connection = self.connection
        self._segments = Segments(connection.segment_names, segment_shapes(connection.atoms, connection.batch))
        connection.attach(self._segments.arrays)
        self._detach = connection.detach

    def close(self) -> None:
        """Ends the connection so that the peer sees a clean end of file, whatever is still queued."""
        sock = self._sock
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # nothing more can arrive while the queue is emptied
        with contextlib.suppress(OSError):
            sock.setblocking(False)
            while sock.recv(1 << 16):
                pass
        sock.close()
        if self._segments is not None:
            self._detach()
            self._segments.close()


class Segments:
    """Shared-memory arrays that the server owns: mapped, locked against a second client, never unlinked.

    multiprocessing.shared_memory is not used because it hands every segment that it opens to a tracker process, which
    unlinks it when this process ends (avoidable from Python 3.13 only).
    """

    def __init__(self, names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> None:
        self._maps: list[mmap.mmap] = []
        self._lock = -1
        self.arrays: list[Array] = []
        try:
            for name, shape in zip(names, shapes, strict=True):
                self.arrays.append(self._map(name, shape))
        except BaseException:
            self.close()
            raise

    def _map(self, name: str, shape: tuple[int, ...]) -> Array:
        import _posixshmem  # shm_open, as used by multiprocessing.shared_memory

        try:
            descriptor = _posixshmem.shm_open(f"/{name}", os.O_RDWR, mode=0o600)
        except OSError as error:
            raise ProtocolError(f"cannot open the shared memory {name!r}: {error.strerror}") from error
        try:
            size, needed = os.fstat(descriptor).st_size, 8 * int(np.prod(shape))
            if size < needed:
                raise ProtocolError(f"the shared memory {name!r} has {size} bytes, {needed} are needed")
            reserve(descriptor, needed, Path("/dev/shm") / name)
            self._maps.append(mmap.mmap(descriptor, needed))
            if self._lock < 0:
                self._take_lock(descriptor, name)
        finally:
            if descriptor != self._lock:
                os.close(descriptor)
        return np.frombuffer(self._maps[-1], np.float64).reshape(shape)

    def _take_lock(self, descriptor: int, name: str) -> None:
        """Locks the first segment while it is mapped; the lock ends with the process, however that ends."""
        if not try_lock(descriptor):
            raise ProtocolError(f"another client already uses the shared memory {name!r}")
        self._lock = descriptor
        close_in_children(descriptor)

    def close(self) -> None:
        """Unmaps; the arrays must not be in use any more."""
        self.arrays.clear()
        for mapped in self._maps:
            with contextlib.suppress(BufferError):  # a view still exists: unmapped when it is gone
                mapped.close()
        self._maps.clear()
        if self._lock >= 0:
            no_longer(self._lock)
            os.close(self._lock)
            self._lock = -1


@contextlib.contextmanager
def listen(config: SocketConfig, backlog: int = 4) -> Iterator[socket.socket]:
    """A listening socket for the server's end; the path of a unix socket is removed at the end.

    `InputError` if the address is in use or cannot be had.
    """
    if config.mode != "inet":
        remove_dead(Path(config.reachable_path), "socket")
    family = socket.AF_INET if config.mode == "inet" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        close_in_children(sock)
        try:
            if config.mode == "inet":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((config.address, config.port))
            else:
                sock.bind(config.reachable_path)
            sock.listen(backlog)
        except OSError as error:
            raise InputError(f"socket: cannot listen at {config}: {error.strerror}") from error
        try:
            yield sock
        finally:
            if config.mode != "inet":
                Path(config.reachable_path).unlink(missing_ok=True)
