"""Standard streams that are closed: nothing else gets their numbers, so what a model prints does not go to i-PI."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from ase.build import bulk

from forceserver.frame import Frame
from forceserver.ipi import wire
from forceserver.ipi.transports import Disconnected, Link, SocketConfig, listen

MODEL = """
import os
import sys
from ase.calculators.emt import EMT


class Talkative(EMT):
    count, closed = 0, {closed}

    def calculate(self, *arguments):
        super().calculate(*arguments)
        self.count += 1
        if self.count == 3:
            raise RuntimeError("to make it connect again")
        os.write(1, b"this is no message of the protocol\\n")
        if self.count == {when}:
            for number in self.closed:
                os.close(number) if isinstance(number, int) else getattr(sys, number).close()
"""

CONFIG = """
[structure]
file = "al.extxyz"
[potential]
kind = "ase"
calculator = "talkative.Talkative"
[socket]
address = "force"
prefix = "./"
"""


def serve_twice(where: SocketConfig, first: Frame, second: Frame) -> None:
    """A server whose first client leaves at its second structure, and whose second client computes it."""
    with listen(where) as listener:
        listener.settimeout(60)
        with accepted(listener, len(first)) as server:
            ask_for_forces(server, first)
            assert answer(server) == wire.FORCEREADY
            ask_for_forces(server, second)
            with pytest.raises(Disconnected, match="closed"):
                answer(server)
        with accepted(listener, len(first)) as server:
            ask_for_forces(server, second)
            assert answer(server) == wire.FORCEREADY
            server.send(wire.EXIT)


@contextlib.contextmanager
def accepted(listener: socket.socket, atoms: int) -> Iterator[Link]:
    sock, _ = listener.accept()
    with Link(sock, wire.ServerConnection(atoms, 1)) as server:
        yield server


def ask_for_forces(server: Link, frame: Frame) -> None:
    server.send(wire.STATUS)
    if answer(server) == wire.NEEDINIT:
        server.send(server.connection.init(0))
        server.send(wire.STATUS)
        assert answer(server) == wire.READY
    server.send(*server.connection.positions([frame]))


def answer(server: Link) -> bytes:
    while (message := server.next_message()) is None:
        pass
    return message


@pytest.mark.parametrize(
    ("at_start", "by_model", "when"),
    [("", (1, 2), 1), ("", (0, 1, 2), 2), ("", ("stderr", "stdout"), 2), ("<&- >&-", (), 0)],
)
def test_what_a_model_prints_does_not_go_to_the_server(tmp_path, at_start, by_model, when):
    frames = []
    for seed in range(3):
        atoms = bulk("Al", cubic=True)
        atoms.rattle(0.1, seed=seed)
        frames.append(Frame.from_ase(atoms))
    atoms.write(tmp_path / "al.extxyz")
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "talkative.py").write_text(MODEL.format(closed=by_model, when=when))
    where = SocketConfig(address="force", prefix=f"{tmp_path}/")
    command = f"exec '{sys.executable}' -m forceserver drive config.toml 2> log {at_start}"
    with subprocess.Popen(["sh", "-c", command], cwd=tmp_path, stdout=subprocess.DEVNULL) as driver:
        try:
            serve_twice(where, *frames[:2])
            assert driver.wait(30) == 0
        finally:
            driver.kill()
    log = (tmp_path / "log").read_text()
    assert "RuntimeError: to make it connect again" in log
    assert "served 3 structures over 2 connections, 1 failures" in log


@pytest.mark.parametrize("command", ["--version", "check config.toml"])
def test_a_command_without_standard_streams(tmp_path, command):
    bulk("Al", cubic=True).write(tmp_path / "al.extxyz")
    (tmp_path / "config.toml").write_text(CONFIG.replace("talkative.Talkative", "ase.calculators.emt.EMT"))
    command = f"exec '{sys.executable}' -m forceserver {command} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 0
