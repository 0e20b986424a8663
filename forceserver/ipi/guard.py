"""Keeps i-PI alive when a driver dies at the worst moment.

When a process dies with bytes unread in a socket, the kernel tells the other end "connection reset" instead of "end of
file". i-PI does not expect that: its polling thread dies and the simulation waits for ever. A driver reads all that it
can before it computes, but bytes that arrive while it waits for a core are unread, and none of its code runs after
SIGKILL.

So a second, tiny process holds the same socket. It sleeps until the driver dies, then reads what is left and closes:
i-PI sees an end of file and gives the structure to another driver. This file is both sides; as a program it needs
nothing but the standard library.
"""

import contextlib
import logging
import socket
import subprocess
import sys

QUIET_SECONDS = 0.1
"""When nothing has come for this long, nothing more is on its way: i-PI sends a structure in one go."""

log = logging.getLogger(__name__)


class Guard:
    """The guard process, for as long as the context lasts; `hold` gives it the socket of a connection.

    If no guard can be started, a warning is logged and the driver works without one.
    """

    def __enter__(self) -> "Guard":
        from ..forks import close_in_children  # imported here: this file also runs as a program, without the package

        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        close_in_children(self._control)
        self._process: subprocess.Popen | None = None
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # a signal to the driver's process group must not end its guard first
                )
            except OSError as error:
                log.warning("no guard process (%s): i-PI may hang if this driver is killed", error)
        return self

    def hold(self, sock: socket.socket) -> None:
        """Makes the guard hold `sock` instead of the previous socket."""
        try:
            socket.send_fds(self._control, [b"+"], [sock.fileno()])
        except OSError as error:
            log.warning("the guard process is gone (%s): i-PI may hang if this driver is killed", error)

    def __exit__(self, *_: object) -> None:
        """Ends the guard. Close the socket that it holds first: then nothing is left unread in it."""
        self._control.close()
        if self._process is not None:
            self._process.wait()


def hold_sockets(control: socket.socket) -> None:
    """The guard: holds what comes through `control`, and closes it cleanly when the other end of `control` is gone."""
    held: socket.socket | None = None
    while True:
        try:
            data, descriptors, *_ = socket.recv_fds(control, 1, 1)
        except OSError:
            break
        if not data:
            break
        if held is not None:
            held.close()
        held = socket.socket(fileno=descriptors[0])
    if held is not None:
        close_cleanly(held)


def close_cleanly(sock: socket.socket) -> None:
    """Reads until nothing more comes, then closes, so that the peer sees an end of file."""
    with contextlib.suppress(OSError):
        sock.settimeout(QUIET_SECONDS)
        while sock.recv(1 << 16):
            pass
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        while sock.recv(1 << 16):
            pass
    sock.close()


if __name__ == "__main__":
    hold_sockets(socket.socket(fileno=0))
