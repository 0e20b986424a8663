"""The driver against a server in this process: what it does when things go wrong, and how it leaves."""

import asyncio
import contextlib
import logging
import multiprocessing.shared_memory
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from forceserver.errors import InputError, PotentialError, ProtocolError
from forceserver.frame import Frame, Result
from forceserver.ipi import wire
from forceserver.ipi.driver import DriverConfig, Outcome, serve
from forceserver.ipi.transports import Disconnected, Link, NoServer, SocketConfig, connect, listen
from forceserver.potentials.base import Potential

ATOMS = 4


def structure(seed: int = 0) -> Frame:
    random = np.random.default_rng(seed)
    cell = np.array([[9.0, 0.0, 0.0], [1.5, 8.0, 0.0], [-1.0, 0.7, 7.0]])
    return Frame(random.normal(size=(ATOMS, 3)) * 5, cell, np.full(ATOMS, 13, np.int32))


class Springs(Potential):
    """Every atom on a spring at the origin; `spoil` may change a result or raise."""

    def __init__(self, spoil=lambda frame, result: None) -> None:
        self.spoil = spoil

    def compute_one(self, frame: Frame) -> Result:
        virial = -frame.positions.T @ frame.positions
        result = Result(0.5 * float(np.sum(frame.positions**2)), -frame.positions, virial)
        self.spoil(frame, result)
        return result


class DriverThread(threading.Thread):
    """`serve` in a thread, with what it returned or raised."""

    def __init__(self, where: SocketConfig, potential: Potential | None = None, **options: object) -> None:
        super().__init__(daemon=True)
        self.where, self.potential = where, potential or Springs()
        self.driver = DriverConfig(**{"connect_deadline_seconds": 20, **options})
        self.outcome: Outcome | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = serve(self.potential, structure(), self.where, self.driver)
        except Exception as error:
            self.error = error

    def ended(self) -> "DriverThread":
        self.join(20)
        assert not self.is_alive()
        return self


@pytest.fixture(params=["unix", "inet"])
def where(request, tmp_path):
    if request.param == "unix":
        return SocketConfig(prefix=f"/tmp/fs{os.getpid()}_", address=tmp_path.name)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return SocketConfig(mode="inet", address="127.0.0.1", port=sock.getsockname()[1])


@pytest.fixture
def unix(tmp_path):
    return SocketConfig(prefix=f"/tmp/fs{os.getpid()}_", address=tmp_path.name)


@contextlib.contextmanager
def accepted(listener, batch: int = 1, shared_memory: bool = False):
    """The server's channel to the next client, handshake done."""
    listener.settimeout(20)
    sock, _ = listener.accept()
    with Link(sock, wire.ServerConnection(ATOMS, batch, shared_memory=shared_memory)) as server:
        assert ask_status(server) == wire.NEEDINIT
        server.send(server.connection.init(5))
        assert ask_status(server) == wire.READY
        yield server


def answer(server: Link) -> bytes:
    """The next message of the client."""
    while (message := server.next_message()) is None:
        pass
    return message


def ask_status(server: Link) -> bytes:
    server.send(wire.STATUS)
    return answer(server)


def be_ready(server: Link) -> None:
    """Asks for the status until it is READY, as i-PI does; a slow evaluation makes the client want INIT again."""
    if ask_status(server) == wire.NEEDINIT:
        server.send(server.connection.init(5))
        assert ask_status(server) == wire.READY


def evaluate(server: Link, *frames: Frame) -> list[Result]:
    server.send(*server.connection.positions(frames))
    assert answer(server) == wire.FORCEREADY
    return server.connection.results


def check(result: Result, frame: Frame) -> None:
    np.testing.assert_allclose(result.forces, -frame.positions, rtol=1e-14)
    np.testing.assert_allclose(result.virial, -frame.positions.T @ frame.positions, rtol=1e-13)


def test_serves_in_the_consolidated_and_in_the_legacy_order(where):
    with listen(where) as listener:
        driver = DriverThread(where)
        with accepted(listener) as server:
            check(evaluate(server, structure(1))[0], structure(1))
            be_ready(server)
            server.send(*server.connection.positions([structure(2)], getforce=False))
            assert ask_status(server) == wire.HAVEDATA
            server.send(wire.GETFORCE)
            assert answer(server) == wire.FORCEREADY
            check(server.connection.results[0], structure(2))
            server.send(wire.EXIT)
        outcome = driver.ended().outcome
    assert outcome == Outcome("exit", evaluations=2, failures=0, connections=1)


def test_nothing_is_unread_while_the_potential_works(unix):
    """GETFORCE comes late and in two pieces; the potential starts only when it is in."""
    begun = threading.Event()
    with listen(unix) as listener:
        driver = DriverThread(unix, Springs(lambda frame, result: begun.set()))
        with accepted(listener) as server:
            (message,) = server.connection.positions([structure()])
            server.send(message[:-5])
            assert not begun.wait(0.2)
            server.send(message[-5:])
            assert answer(server) == wire.FORCEREADY
            server.send(wire.EXIT)
        assert driver.ended().error is None


def test_header_split_over_segments(where):
    with listen(where) as listener:
        driver = DriverThread(where)
        with accepted(listener) as server:
            (message,) = server.connection.positions([structure(3)])
            for byte in bytes(message):
                server.send(bytes([byte]))
            assert answer(server) == wire.FORCEREADY
            check(server.connection.results[0], structure(3))
            server.send(wire.EXIT)
        assert driver.ended().outcome.reason == "exit"


def test_server_that_waits_before_it_asks(unix):
    begun = threading.Event()
    with listen(unix) as listener:
        driver = DriverThread(unix, Springs(lambda frame, result: begun.set()))
        with accepted(listener) as server:
            server.send(*server.connection.positions([structure()], getforce=False))
            assert begun.wait(10)
            assert ask_status(server) == wire.HAVEDATA
            server.send(wire.EXIT)
        assert driver.ended().outcome.reason == "exit"


def test_waits_for_the_server_and_comes_back_after_a_restart(where):
    driver = DriverThread(where)
    time.sleep(0.3)
    with listen(where) as listener, accepted(listener) as server:
        check(evaluate(server, structure())[0], structure())
    time.sleep(0.2)
    with listen(where) as listener, accepted(listener) as server:
        check(evaluate(server, structure(1))[0], structure(1))
        server.send(wire.EXIT)
    assert driver.ended().outcome == Outcome("exit", evaluations=2, failures=0, connections=2)


def test_gives_up_waiting_at_the_deadline(where):
    with pytest.raises(NoServer, match=re.escape(str(where))):
        serve(Springs(), structure(), where, DriverConfig(connect_deadline_seconds=0.2))


def test_gives_up_at_the_deadline_behind_a_tunnel(where):
    """A tunnel accepts and closes connections while nobody listens at its other end: ten a second, for ever."""
    with listen(where) as listener:
        driver = DriverThread(where, connect_deadline_seconds=1)
        listener.settimeout(0.2)
        accepted_connections = 0
        while driver.is_alive():
            with contextlib.suppress(TimeoutError):
                listener.accept()[0].close()
                accepted_connections += 1
    assert isinstance(driver.error, NoServer)
    assert f"{where} accepts connections and closes them: a tunnel" in str(driver.error)
    assert accepted_connections < 7


def test_server_killed_in_the_middle_of_a_structure(where):
    with listen(where) as listener:
        driver = DriverThread(where)
        with accepted(listener) as server:
            (message,) = server.connection.positions([structure()])
            server.send(message[:100])
        with accepted(listener) as server:
            check(evaluate(server, structure())[0], structure())
            server.send(wire.EXIT)
        assert driver.ended().outcome.evaluations == 1


def raise_boom(frame: Frame, result: Result) -> None:
    raise RuntimeError('boom\nin "several" lines')


def call_exit(frame: Frame, result: Result) -> None:
    sys.exit("no licence")


def make_nan(frame: Frame, result: Result) -> None:
    result.forces[2, 1] = np.nan


class Mute(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def fail_to_tell(frame, result) -> None:
    raise Mute


def be_cancelled(frame, result) -> None:
    raise asyncio.CancelledError("by whom")  # no Exception, but a BaseException


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (raise_boom, "RuntimeError: boom"),
        (make_nan, r"forces\[2, 1\] = nan"),
        (call_exit, r"the potential called sys.exit\('no licence'\)"),
        (be_cancelled, "CancelledError: by whom"),
        (fail_to_tell, r"Mute: \(its message cannot be printed\)"),
    ],
)
def test_failure_is_told_saved_and_given_back(unix, tmp_path, caplog, spoil, what):
    """The connection ends cleanly, the client comes back, and gives up after the bound."""
    with listen(unix) as listener:
        driver = DriverThread(unix, Springs(spoil), max_consecutive_failures=2, failed_frames=tmp_path / "failed")
        for _ in range(2):
            with accepted(listener) as server:
                server.send(*server.connection.positions([structure(7)]))
                with pytest.raises(Disconnected, match="closed"):  # and not "reset"
                    answer(server)
        driver.ended()
    assert isinstance(driver.error, PotentialError)
    assert re.search(rf"failed for structure 1 of this driver \(replica 5\): .*{what}", str(driver.error))
    assert re.search(rf"failed for structure 0 of this driver \(replica 5\): .*{what}", caplog.text)
    files = sorted((tmp_path / "failed").iterdir())
    assert len(files) == 2
    atoms = read(files[0])
    np.testing.assert_allclose(atoms.positions, structure(7).positions, rtol=1e-6)
    assert atoms.info["replica"] == 5
    assert re.search(what, atoms.info["error"])


@pytest.mark.parametrize(("leave", "code"), [(raise_boom, 1), (call_exit, 1), (lambda *_: sys.exit(3), 3), (print, 0)])
def test_a_child_that_comes_back_is_no_second_driver(unix, leave, code, capfd):
    """It used to save the structure as failed, connect and compute in the place of its parent, which waited for it."""
    codes = []

    def fork(frame: Frame, result: Result) -> None:
        child = os.fork()
        if child == 0:
            leave(frame, result)
            return
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    with listen(unix) as listener:
        driver = DriverThread(unix, Springs(fork))
        with accepted(listener) as server:
            check(evaluate(server, structure(1))[0], structure(1))
            server.send(wire.EXIT)
        assert driver.ended().outcome == Outcome("exit", evaluations=1, failures=0, connections=1)
    assert codes == [code]
    assert ("RuntimeError: boom" in capfd.readouterr().err) == (leave is raise_boom)


def test_failures_with_good_evaluations_between_them_do_not_add_up(unix, tmp_path):
    def spoil(frame: Frame, result: Result) -> None:
        if frame.number % 2:
            raise RuntimeError("odd step")

    with listen(unix) as listener:
        driver = DriverThread(unix, Springs(spoil), max_consecutive_failures=2, failed_frames=tmp_path)
        for _ in range(4):
            with accepted(listener) as server:
                evaluate(server, structure())
                server.send(*server.connection.positions([structure()]))
                with pytest.raises(Disconnected):
                    answer(server)
        with accepted(listener) as server:
            server.send(wire.EXIT)
        assert driver.ended().outcome.failures == 4


def test_on_error_exit(unix, tmp_path):
    with listen(unix) as listener:
        driver = DriverThread(unix, Springs(raise_boom), on_error="exit", failed_frames=tmp_path)
        with accepted(listener) as server:
            server.send(*server.connection.positions([structure()]))
            assert isinstance(driver.ended().error, PotentialError)
            with pytest.raises(Disconnected, match="closed"):
                answer(server)


@pytest.mark.parametrize(("scale", "warns"), [(1.0, False), (1.2, False), (1.5, True), (0.529, True)])
def test_a_cell_unlike_the_templates_is_told(unix, caplog, scale, warns):
    with listen(unix) as listener:
        driver = DriverThread(unix)
        with accepted(listener) as server:
            frame = structure()
            frame.cell = scale * frame.cell
            server.send(*server.connection.positions([frame]))
            answer(server)
            server.send(wire.EXIT)
        driver.ended()
    assert ("times the volume of the template's" in caplog.text) == warns


def test_a_file_that_is_wrong_ends_it_at_once(unix, tmp_path):
    """Trying again would not mend it, and no structure is to blame."""

    def refuse(frame: Frame, result: Result) -> None:
        raise InputError("HILLS.1, line 7: 2 columns instead of 5")

    with listen(unix) as listener:
        driver = DriverThread(unix, Springs(refuse), failed_frames=tmp_path)
        with accepted(listener) as server:
            server.send(*server.connection.positions([structure()]))
            assert isinstance(driver.ended().error, InputError)
            with pytest.raises(Disconnected, match="closed"):
                answer(server)
    assert not list(tmp_path.iterdir())


def test_failure_in_a_folder_that_cannot_be_written_is_still_told(unix, tmp_path):
    (tmp_path / "file").write_text("")
    with listen(unix) as listener:
        driver = DriverThread(unix, Springs(raise_boom), on_error="exit", failed_frames=tmp_path / "file")
        with accepted(listener) as server:
            server.send(*server.connection.positions([structure()]))
            assert "could not be saved" in str(driver.ended().error)


def test_batch_reaches_the_potential_at_once(unix):
    seen = []

    class Batched(Springs):
        def compute(self, frames):
            seen.append(len(frames))
            return super().compute(frames)

    frames = [structure(i) for i in range(4)]
    with listen(unix) as listener:
        driver = DriverThread(unix, Batched())
        with accepted(listener, batch=4) as server:
            for result, frame in zip(evaluate(server, *frames), frames, strict=True):
                check(result, frame)
            server.send(wire.EXIT)
        assert driver.ended().outcome.evaluations == 4
    assert seen == [4]


def test_failure_in_a_batch_saves_the_batch(unix, tmp_path):
    def spoil(frame: Frame, result: Result) -> None:
        if frame.number == 2:
            result.energy = np.inf

    with listen(unix) as listener:
        driver = DriverThread(unix, Springs(spoil), on_error="exit", failed_frames=tmp_path)
        with accepted(listener, batch=3) as server:
            server.send(*server.connection.positions([structure(i) for i in range(3)]))
            assert "batch of 3): the potential returned energy = inf" in str(driver.ended().error)
    (file,) = tmp_path.iterdir()
    assert [atoms.info["number"] for atoms in read(file, ":")] == [0, 1, 2]


def test_replica_is_asked_for_when_structures_take_long(unix):
    with listen(unix) as listener:
        driver = DriverThread(unix, Springs(lambda frame, result: time.sleep(0.06)))
        with accepted(listener) as server:
            evaluate(server, structure())
            assert ask_status(server) == wire.NEEDINIT
            server.send(server.connection.init(6))
            assert ask_status(server) == wire.READY
            server.send(wire.EXIT)
        driver.ended()


def test_replica_is_asked_for_after_a_failure(unix, tmp_path):
    def spoil(frame: Frame, result: Result) -> None:
        if frame.number in (1, 3):
            raise RuntimeError("tired")

    with listen(unix) as listener:
        driver = DriverThread(unix, Springs(spoil), failed_frames=tmp_path)
        for _ in range(2):
            with accepted(listener) as server:
                evaluate(server, structure())
                be_ready(server)
                server.send(*server.connection.positions([structure()]))
                with pytest.raises(Disconnected):
                    answer(server)
        with accepted(listener) as server:
            server.send(wire.EXIT)
        driver.ended()
    assert [read(file).info["replica"] for file in sorted(tmp_path.iterdir(), key=lambda f: int(f.stem[-1]))] == [-1, 5]


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", re.escape("b'GET / HTTP/1.1\\r\\n'")),
        (wire.POSDATA + bytes(144) + struct.pack("=i", -3), "-3 atoms"),
        (wire.POSDATA + bytes(144) + struct.pack("=i", 2**31 - 1), "2147483647 atoms.*max_atoms = 10000000"),
        (wire.POSDATA + bytes(144) + struct.pack("=i", 6), "6 atoms, but the template structure here has 4"),
        (wire.POSDATA + bytes(144) + struct.pack("=i", ATOMS) + bytes(24 * ATOMS), "singular cell"),
        (wire.POSDATA + bytes(144) + struct.pack("=i", ATOMS) + b"\xff" * 24 * ATOMS, "nan as coordinate x of atom 0"),
        (wire.INIT + struct.pack("=ii", 0, 2**30), "1073741824 bytes.*max_string_bytes = 67108864"),
        (wire.INIT + struct.pack("=ii", 0, 3) + b"\xff\xff\xff" + wire.STATUS, "not UTF-8"),
    ],
)
def test_peer_that_breaks_the_protocol_is_refused(unix, message, what):
    with listen(unix) as listener:
        driver = DriverThread(unix)
        with accepted(listener) as server:
            server.send(message)
            with pytest.raises(Disconnected, match="closed"):
                answer(server)
        error = driver.ended().error
    assert isinstance(error, ProtocolError)
    assert error.exit_code == 2
    assert re.search(what, str(error))


def test_idle_and_lifetime(unix):
    with listen(unix) as listener:
        driver = DriverThread(unix, idle_timeout_seconds=0.6)
        with accepted(listener) as server:
            evaluate(server, structure())
            assert driver.ended().outcome.reason == "idle"
        driver = DriverThread(unix, lifetime_seconds=0.6)
        with accepted(listener) as server:
            time.sleep(0.7)
            with contextlib.suppress(Disconnected):
                evaluate(server, structure())
            assert driver.ended().outcome.reason == "lifetime"
    assert DriverThread(unix, lifetime_seconds=0.2).ended().outcome.reason == "lifetime"


SLEEPER = """
import sys, time
sys.path.insert(0, {folder!r})
from test_driver import *
def slow(frame, result):
    print("computing", flush=True)
    time.sleep(60)
print(serve(Springs(slow), structure(), SocketConfig(prefix={prefix!r}, address={address!r}), DriverConfig()))
"""


@contextlib.contextmanager
def running(code: str):
    """A Python process that is gone at the end."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("busy", [True, False])
def test_signal_ends_cleanly_and_at_once(unix, number, busy):
    code = SLEEPER.format(folder=str(Path(__file__).parent), prefix=unix.prefix, address=unix.address)
    with listen(unix) as listener, running(code) as driver, accepted(listener) as server:
        if busy:
            server.send(*server.connection.positions([structure()]))
            assert driver.stdout.readline() == "computing\n"
        begin = time.monotonic()
        driver.send_signal(number)
        with pytest.raises(Disconnected, match="closed"):
            answer(server)
        assert driver.wait(20) == 0
        assert time.monotonic() - begin < 10
        assert "reason='signal'" in driver.stdout.read()


@contextlib.contextmanager
def segments(name: str, batch: int = 1):
    """The server's six segments, with their arrays."""
    shapes = wire.segment_shapes(ATOMS, batch)
    with contextlib.ExitStack() as stack:
        made = []
        for kind, shape in zip(wire.SEGMENT_KINDS, shapes, strict=True):
            memory = multiprocessing.shared_memory.SharedMemory(f"{name}_{kind}", True, 8 * int(np.prod(shape)))
            stack.callback(memory.unlink)
            made.append(memory)
        yield (
            [memory.name for memory in made],
            [np.ndarray(shape, np.float64, memory.buf) for memory, shape in zip(made, shapes, strict=True)],
        )


@pytest.mark.parametrize("batch", [1, 3])
def test_shared_memory(unix, batch):
    shm = SocketConfig(mode="shm", prefix=unix.prefix, address=unix.address)
    with listen(shm) as listener, segments(f"fs{os.getpid()}_a", batch) as (names, arrays):
        driver = DriverThread(shm)
        with accepted(listener, batch, shared_memory=True) as server:
            server.connection.attach(arrays, names)
            for step in range(3):
                frames = [structure(step + i) for i in range(batch)]
                for result, frame in zip(evaluate(server, *frames), frames, strict=True):
                    check(result, frame)
                be_ready(server)
            server.send(wire.EXIT)
        assert driver.ended().outcome.evaluations == 3 * batch
        assert all(Path("/dev/shm", name).exists() for name in names)  # the server's to remove, not the client's


def test_second_client_on_the_same_shared_memory_is_refused(unix):
    shm = SocketConfig(mode="shm", prefix=unix.prefix, address=unix.address)
    with listen(shm) as listener, segments(f"fs{os.getpid()}_b") as (names, arrays):
        first = DriverThread(shm)
        with accepted(listener, shared_memory=True) as server:
            server.connection.attach(arrays, names)
            check(evaluate(server, structure())[0], structure())
            second = DriverThread(shm)
            with accepted(listener, shared_memory=True) as other:
                other.connection.attach(arrays, names)
                other.send(*other.connection.positions([structure()]))
                error = second.ended().error
            assert isinstance(error, ProtocolError)
            assert "another client already uses the shared memory" in str(error)
            check(evaluate(server, structure(1))[0], structure(1))
            server.send(wire.EXIT)
        first.ended()


@pytest.mark.parametrize("name", ["not_there", "../etc/passwd", ""])
def test_shared_memory_that_is_not_there_is_refused(unix, name):
    shm = SocketConfig(mode="shm", prefix=unix.prefix, address=unix.address)
    with listen(shm) as listener:
        driver = DriverThread(shm)
        with accepted(listener, shared_memory=True) as server:
            text = struct.pack("=i", len(name)) + name.encode()
            server.send(wire.POSDATA + struct.pack("=i", ATOMS) + text * 6 + wire.GETFORCE)
            assert isinstance(driver.ended().error, ProtocolError)


def test_shared_memory_that_is_too_small_is_refused(unix):
    shm = SocketConfig(mode="shm", prefix=unix.prefix, address=unix.address)
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=8)
    try:
        os.truncate(f"/dev/shm/{memory.name}", 8)
        with listen(shm) as listener:
            driver = DriverThread(shm)
            with accepted(listener, shared_memory=True) as server:
                text = struct.pack("=i", len(memory.name)) + memory.name.encode()
                server.send(wire.POSDATA + struct.pack("=i", ATOMS) + text * 6 + wire.GETFORCE)
                assert "has 8 bytes, 96 are needed" in str(driver.ended().error)
    finally:
        memory.close()
        memory.unlink()


@pytest.mark.parametrize("mode", ["unix", "inet", "shm"])
@pytest.mark.parametrize("evaluations", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_memory_stays_flat_and_no_descriptor_is_left(unix, mode, evaluations):
    """Less than 1 MiB after warming up, and the same open files before and after serving."""
    port = None
    if mode == "inet":
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
    address = "127.0.0.1" if mode == "inet" else unix.address
    config = SocketConfig(mode=mode, address=address, port=port, prefix=unix.prefix)
    code = LONG_RUN.format(folder=str(Path(__file__).parent), config=config.model_dump())
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(config))
        shm = mode == "shm"
        names, arrays = stack.enter_context(segments(f"fs{os.getpid()}_c")) if shm else ((), ())
        driver = stack.enter_context(running(code))
        with accepted(listener, shared_memory=shm) as server:
            if shm:
                server.connection.attach(arrays, names)
            before = 0
            for step in range(evaluations):
                evaluate(server, structure())
                be_ready(server)
                if step == 1000:
                    before = resident_bytes(driver.pid)
            assert resident_bytes(driver.pid) - before < 1 << 20
            server.send(wire.EXIT)
        assert driver.wait(20) == 0
        assert driver.stdout.read() == "descriptors 0\n"


LONG_RUN = """
import sys
sys.path.insert(0, {folder!r})
from test_driver import *
from forceserver.streams import keep_standard_streams
keep_standard_streams()  # once for a process: `serve` would do it
before = len(os.listdir("/proc/self/fd"))
serve(Springs(), structure(), SocketConfig(**{config!r}), DriverConfig())
print("descriptors", len(os.listdir("/proc/self/fd")) - before)
"""


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"address": "x" * 110}, "a path of 119 bytes, a unix socket can have 107"),
        ({"mode": "inet"}, "needs a port"),
        ({"mode": "inet", "port": 65536}, "less than or equal to 65535"),
        ({"mode": "unix", "port": 31415}, "has no port"),
        ({"mode": "udp"}, "'unix', 'inet' or 'shm'"),
        ({"adress": "x"}, "adress"),
    ],
)
def test_socket_configuration_is_checked(keys, what):
    with pytest.raises(ValueError, match=what):
        SocketConfig(**keys)


def test_addresses_that_cannot_be_are_told_at_once(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.invalid"):
        connect(SocketConfig(mode="inet", address="nowhere.invalid", port=4), 20)


def test_log_of_a_connection(unix, caplog):
    with caplog.at_level(logging.INFO), listen(unix) as listener:
        driver = DriverThread(unix)
        with accepted(listener) as server:
            server.send(wire.EXIT)
        driver.ended()
    assert f"connected to {unix.path}" in caplog.text
    assert "the server said EXIT" in caplog.text


def test_a_relative_socket_is_found_from_wherever_a_model_has_gone(tmp_path, monkeypatch):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = SocketConfig(prefix="./", address="here")
    with listen(config):
        for folder in (tmp_path, "/", tmp_path / "deep" / "er"):
            monkeypatch.chdir(folder)
            connect(config, deadline_seconds=1).close()
        folder.rmdir()
        connect(config, deadline_seconds=1).close()
        monkeypatch.chdir(tmp_path)
