"""A driver that is killed with bytes unread looks like a clean end of file to its server."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from forceserver.ipi.guard import Guard

DRIVER = """
import contextlib, socket, sys, time
from forceserver.ipi.guard import Guard
family, address, guarded = sys.argv[1:]
sock = socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET)
sock.connect(address if family == "unix" else ("127.0.0.1", int(address)))
with Guard() if guarded == "yes" else contextlib.nullcontext() as guard:
    if guard is not None:
        guard.hold(sock)
    sock.sendall(b"ready")
    time.sleep(1000)
"""


@pytest.fixture(params=["unix", "inet"])
def listener(request, tmp_path):
    with socket.socket(socket.AF_UNIX if request.param == "unix" else socket.AF_INET) as sock:
        sock.bind(str(tmp_path / "s") if request.param == "unix" else ("127.0.0.1", 0))
        sock.listen()
        sock.settimeout(30)
        yield sock


def kill_with_unread_bytes(listener: socket.socket, guarded: str) -> bytes:
    """What the server receives after SIGKILL to a driver that had not read 100 kB."""
    unix = listener.family == socket.AF_UNIX
    address = listener.getsockname() if unix else str(listener.getsockname()[1])
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, "unix" if unix else "inet", address, guarded])
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(30)
            assert connection.recv(5) == b"ready"
            connection.sendall(bytes(100_000))
            os.kill(driver.pid, signal.SIGKILL)
            return connection.recv(12)
    finally:
        driver.kill()
        driver.wait()


def test_with_a_guard_the_server_sees_the_end_of_the_stream(listener):
    assert kill_with_unread_bytes(listener, "yes") == b""


def test_without_a_guard_the_connection_is_reset(listener):
    """The reason for all this; should it ever stop being so, the guard can go."""
    with pytest.raises(ConnectionResetError):
        kill_with_unread_bytes(listener, "no")


def test_a_guard_ends_with_its_context_and_lets_go_of_old_sockets():
    first, second = socket.socketpair(), socket.socketpair()
    with Guard() as guard:
        process = guard._process
        guard.hold(first[0])
        guard.hold(second[0])
        first[0].close()
        first[1].settimeout(30)
        assert first[1].recv(1) == b"", "the guard still holds the first socket"
        assert process.poll() is None
    assert process.returncode == 0
    second[0].close()
    second[1].settimeout(30)
    assert second[1].recv(1) == b""
    first[1].close(), second[1].close()


def test_a_guard_that_is_gone_is_no_error(caplog):
    with Guard() as guard:
        guard._process.kill()
        guard._process.wait()
        time.sleep(0.01)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            guard.hold(ours)
    assert "the guard process is gone" in caplog.text
