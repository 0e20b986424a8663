"""The CV server, spoken to in Python: what it answers, and what no client can do to it."""

import contextlib
import mmap
import os
import socket
import stat
import struct
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polarization import POLARIZATION

from forceserver.cv import build_variables, variable_section
from forceserver.cv_server import protocol
from forceserver.cv_server import server as cv_server
from forceserver.cv_server.protocol import BlockLayout, Kind
from forceserver.cv_server.server import CVServer, CVServerConfig
from forceserver.errors import InputError
from forceserver.frame import Frame


@pytest.fixture
def variables(batio3):
    config = variable_section(POLARIZATION)
    return build_variables([config], Frame.from_ase(batio3))


@pytest.fixture(params=["unix", "tcp"])
def address(request, tmp_path):
    return str(tmp_path / "cv.sock") if request.param == "unix" else "127.0.0.1:0"


@pytest.fixture
def server(address, variables):
    with CVServer(CVServerConfig(address=address), variables) as server:
        yield server


class Client:
    """The client's side of the protocol, with or without shared memory."""

    def __init__(self, server, shared=False, name="polarization", atoms=40):
        self.sock = connect(server.address)
        self.sock.sendall(protocol.pack_hello(protocol.Hello(shared, atoms, name)))
        kind, body, fds = self.receive()
        if kind == Kind.ERROR:
            raise ConnectionError(body.decode())
        _, self.shared, d, a = protocol.DESCRIPTION.unpack_from(body)
        self.atoms = np.frombuffer(body, np.int32, a, protocol.DESCRIPTION.size)
        self.masses = np.frombuffer(body, np.float64, a, protocol.DESCRIPTION.size + 4 * a)
        self.outputs = body[protocol.DESCRIPTION.size + 12 * a :].decode().split("\n")
        self.layout = BlockLayout(a, d)
        assert len(fds) == self.shared
        self.memory = memoryview(mmap.mmap(fds[0], self.layout.size)) if self.shared else None

    def receive(self):
        header, fds, _, _ = socket.recv_fds(self.sock, protocol.HEADER.size, 1)
        if not header:
            raise EOFError
        while len(header) < protocol.HEADER.size:
            header += self.sock.recv(protocol.HEADER.size - len(header))
        kind, length = protocol.HEADER.unpack(header)
        body = b""
        while len(body) < length:
            body += self.sock.recv(length - len(body))
        return kind, body, fds

    def compute(self, positions, cell):
        request = np.concatenate([cell.ravel(), positions[self.atoms].ravel()]).tobytes()
        if self.shared:
            self.memory[: len(request)] = request
            request = b""
        self.sock.sendall(protocol.message(Kind.POSITIONS, request))
        kind, body, _ = self.receive()
        if kind == Kind.ERROR:
            raise ConnectionError(body.decode())
        n, d = protocol.COUNT.unpack_from(body)[0], self.layout.components
        block = body[8:] if not self.shared else self.memory[self.layout.request_bytes :]
        numbers = np.frombuffer(block, np.float64, d * (10 + 3 * n))
        active = np.frombuffer(block, np.int32, n, 8 * len(numbers))
        return numbers[:d], numbers[d : 10 * d].reshape(d, 3, 3), numbers[10 * d :].reshape(d, n, 3), active


def connect(address):
    if address.startswith("/"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address)
    else:
        host, port = address.split(":")
        sock = socket.create_connection((host, int(port)))
    sock.settimeout(20)
    return sock


@pytest.mark.parametrize("shared", [False, True])
def test_answers_are_those_of_the_variable(server, variables, batio3, shared):
    client = Client(server, shared)
    assert client.outputs == ["x", "y", "z"]
    np.testing.assert_allclose(client.masses, batio3.get_masses()[client.atoms])
    assert client.shared == (shared and server.address.startswith("/"))
    for _ in range(3):
        batio3.rattle(0.05, rng=np.random.default_rng(1))
        values, strain, gradients, active = client.compute(batio3.positions, batio3.cell.array)
        expected = variables["polarization"].compute(Frame.from_ase(batio3))
        # Not to the last bit: the two neighbour lists were built at different positions.
        np.testing.assert_allclose(values, expected.values, rtol=0, atol=1e-14)
        np.testing.assert_allclose(strain, expected.strain, rtol=0, atol=1e-14)
        np.testing.assert_allclose(gradients, expected.gradients, rtol=0, atol=1e-14)
        np.testing.assert_array_equal(client.atoms[active], expected.active)


def test_several_clients_at_once_get_their_own_answers(server, variables, batio3):
    frames = [Frame.from_ase(batio3) for _ in range(4)]
    for k, frame in enumerate(frames):
        frame.positions += np.random.default_rng(k).normal(0, 0.1, (40, 3))
    expected = [variables["polarization"].copy().compute(frame).values for frame in frames]
    wrong = []

    def work(k):
        client = Client(server, shared=True)
        for _ in range(50):
            values = client.compute(frames[k].positions, frames[k].cell)[0]
            if not np.array_equal(values, expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_socket_is_private(variables, tmp_path):
    before = os.umask(0)
    try:
        with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables):
            assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o600
    finally:
        os.umask(before)
    assert not (tmp_path / "s").exists()


def test_second_server_at_the_same_place_is_refused_and_the_first_lives(variables, tmp_path):
    config = CVServerConfig(address=str(tmp_path / "s"))
    with CVServer(config, variables) as first:
        with pytest.raises(InputError, match="another server listens"):
            CVServer(config, variables)
        Client(first)


def test_socket_left_by_a_killed_server_is_replaced(variables, tmp_path):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "s"))
    stale.close()
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables) as server:
        Client(server)


def test_file_that_is_no_socket_is_kept(variables, tmp_path):
    (tmp_path / "s").write_text("precious")
    with pytest.raises(InputError, match="not a socket"):
        CVServer(CVServerConfig(address=str(tmp_path / "s")), variables)
    assert (tmp_path / "s").read_text() == "precious"


@pytest.mark.parametrize("address", ["relative/path", "/" + "x" * 107, "host", "host:port", ":80", "host:70000"])
def test_address_that_cannot_be(address):
    with pytest.raises(ValueError, match=r"must be an absolute path or host:port|at most 107"):
        CVServerConfig(address=address)


@pytest.mark.parametrize(
    ("hello", "message"),
    [
        ({"name": "entropy"}, "there is no collective variable 'entropy'; there are polarization"),
        ({"atoms": 39}, "the client has 39 atoms, the structure in the configuration has 40"),
    ],
)
def test_wrong_hello_is_answered_with_the_reason(server, hello, message):
    with pytest.raises(ConnectionError, match=message):
        Client(server, **hello)


def test_other_version_is_told_to_rebuild(server):
    sock = connect(server.address)
    sock.sendall(protocol.message(Kind.HELLO, protocol.HELLO.pack(protocol.MAGIC, 99, 0, 40)))
    assert b"speaks version 99 of the protocol, this server version 2" in sock.recv(4096)


@pytest.mark.parametrize("shared", [False, True])
def test_positions_that_are_not_numbers_are_refused(server, batio3, shared):
    client = Client(server, shared)
    batio3.positions[client.atoms[3], 1] = np.nan
    with pytest.raises(ConnectionError, match="not a finite number"):
        client.compute(batio3.positions, batio3.cell.array)
    Client(server)


def test_singular_cell_is_refused_with_the_reason(server, batio3):
    cell = batio3.cell.array.copy()
    cell[1] = cell[0]
    with pytest.raises(ConnectionError, match="polarization: cell: the periodic vectors"):
        Client(server).compute(batio3.positions, cell)


@pytest.mark.parametrize("factor", [0.1, 0.529177, 1.889726, 10.0])
def test_lengths_in_other_units_are_refused(server, batio3, factor):
    """The values would be zero, or those of a denser crystal, without a word."""
    with pytest.raises(ConnectionError, match="times the volume of that in the structure file: are lengths in other"):
        Client(server).compute(factor * batio3.positions, factor * batio3.cell.array)


def test_a_cell_that_grows_is_no_other_unit(server, batio3):
    client = Client(server)
    for factor in (1.3, 2.0):
        client.compute(factor * batio3.positions, factor * batio3.cell.array)


def test_shared_memory_cannot_be_cut_off_under_the_server(variables, tmp_path, batio3):
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables) as server:
        sock = connect(server.address)
        sock.sendall(protocol.pack_hello(protocol.Hello(True, 40, "polarization")))
        _, fds, _, _ = socket.recv_fds(sock, 1, 1)
        with pytest.raises(PermissionError):
            os.ftruncate(fds[0], 0)
        os.close(fds[0])


def test_too_many_clients_are_refused(variables, tmp_path):
    with CVServer(CVServerConfig(address=str(tmp_path / "s"), max_clients=2), variables) as server:
        clients = [Client(server) for _ in range(2)]
        with pytest.raises(ConnectionError, match="already 2 clients"):
            Client(server)
        clients.pop().sock.close()
        deadline = time.monotonic() + 10
        while True:  # until the server has seen the end of the second one
            try:
                Client(server)
                break
            except ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.01)


def test_idle_clients_make_room(variables, batio3, tmp_path, monkeypatch):
    """64 clients that had connected and asked for nothing kept all others out."""
    monkeypatch.setattr(cv_server, "IDLE_SECONDS", 0.3)
    with CVServer(CVServerConfig(address=str(tmp_path / "s"), max_clients=2), variables) as server:
        idle, busy = Client(server), Client(server)
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as silent:
            silent.connect(server.address)
        deadline = time.monotonic() + 20
        while True:
            busy.compute(batio3.positions, batio3.cell.array)
            try:
                new = Client(server)
                break
            except ConnectionError:
                assert time.monotonic() < deadline
        new.compute(batio3.positions, batio3.cell.array)
        busy.compute(batio3.positions, batio3.cell.array)
        assert idle.sock.recv(1) == b"", "it has made room"


def test_announced_length_is_refused_before_memory_is_taken(server):
    sock = connect(server.address)
    sock.sendall(struct.pack("=II", Kind.HELLO, 0xFFFFFFFF))
    assert b"HELLO must be 16 to 272 bytes long" in sock.recv(4096)
    client = Client(server)
    client.sock.sendall(struct.pack("=II", Kind.POSITIONS, 0xFFFFFFF0))
    assert client.receive()[0] == Kind.ERROR


valid_hello = protocol.pack_hello(protocol.Hello(True, 40, "polarization"))
broken = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda tail: valid_hello + tail),
    st.integers(1, len(valid_hello) - 1).map(lambda cut: valid_hello[:cut]),
    st.tuples(st.integers(0, len(valid_hello) - 1), st.integers(0, 255)).map(
        lambda change: valid_hello[: change[0]] + bytes([change[1]]) + valid_hello[change[0] + 1 :]
    ),
)


def test_no_bytes_bring_the_door_down(variables, tmp_path, batio3):
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables) as server:
        good = Client(server, shared=True)
        expected = good.compute(batio3.positions, batio3.cell.array)[0].copy()

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(broken)
        def attack(data):
            sock = connect(server.address)
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):  # the server had not read all of it
                while sock.recv(4096):
                    pass
            sock.close()

        attack()
        np.testing.assert_array_equal(good.compute(batio3.positions, batio3.cell.array)[0], expected)
        good.sock.close()
        deadline = time.monotonic() + 10
        while server.n_clients and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.n_clients == 0, "a thread of a broken client is left"


def test_close_ends_idle_clients(variables, tmp_path):
    server = CVServer(CVServerConfig(address=str(tmp_path / "s")), variables)
    client = Client(server)
    server.close()
    assert client.sock.recv(1) == b""
