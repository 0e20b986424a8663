"""Forked children hold no connection and no lock of their parent."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from ase.build import bulk

import forceserver as fs
from forceserver.ipi.transports import SocketConfig, connect, listen

FORKING = """
import multiprocessing, os, time
from ase.calculators.emt import EMT

def idle():
    time.sleep(60)

class Forking(EMT):
    '''Keeps a child, as calculators with workers do, and says which.'''

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        if not os.path.exists("child"):
            child = multiprocessing.get_context("fork").Process(target=idle)
            child.start()
            with open("child", "w") as file:
                file.write(f"{os.getpid()} {child.pid}")
        time.sleep(0.01)
"""
CONFIG = """
[structure]
file = "al.extxyz"
[potential]
kind = "ase"
calculator = "forking.Forking"
[socket]
address = "f"
prefix = "./"
"""
INPUT = """
<simulation verbosity='low' threading='False' sockets_prefix='./'>
  <output prefix='out'><properties stride='1' filename='p'> [ step, conserved ] </properties></output>
  <total_steps>60</total_steps>
  <prng><seed>3</seed></prng>
  <ffsocket name='f' mode='unix'><address>f</address><latency>0</latency></ffsocket>
  <system>
    <initialize nbeads='1'>
      <file mode='ase'> al.extxyz </file><velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='f'/></forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    <motion mode='dynamics'><dynamics mode='nve'><timestep units='femtosecond'> 1 </timestep></dynamics></motion>
  </system>
</simulation>
"""


def test_a_driver_that_is_killed_leaves_its_simulation_to_others_though_its_child_lives(tmp_path):
    """Real i-PI: the child held the socket, and i-PI waited for ever for an answer (three of three)."""
    bulk("Al", cubic=True).write(tmp_path / "al.extxyz")
    for name, text in (("forking.py", FORKING), ("forceserver.toml", CONFIG), ("input.xml", INPUT)):
        (tmp_path / name).write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    bin_folder = os.path.dirname(sys.executable)

    def start(*command):
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)

    drive = sys.executable, "-m", "forceserver", "drive", "forceserver.toml"
    with contextlib.ExitStack() as stack:
        ipi = start(os.path.join(bin_folder, "i-pi"), "input.xml")
        stack.callback(ipi.kill)
        first = start(*drive)
        stack.callback(first.kill)
        rows = tmp_path / "out.p"
        wait_until(lambda: rows.exists() and rows.read_text().count("\n") > 8)
        parent, child = map(int, (tmp_path / "child").read_text().split())
        stack.callback(os.kill, child, signal.SIGKILL)
        os.kill(parent, signal.SIGKILL)
        second = start(*drive)
        stack.callback(second.kill)
        assert ipi.wait(100) == 0
        os.kill(child, 0)  # it lives still
        assert rows.read_text().splitlines()[-1].split()[0] in ("60", "6.0000000e+01", "6.00000000e+01")


def wait_until(condition, seconds: float = 100.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@contextlib.contextmanager
def forked_child():
    """A child of this process that does nothing."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("mode", ["unix", "inet"])
def test_a_connection_ends_with_its_owner(tmp_path, mode):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = {"unix": {"prefix": f"{tmp_path}/", "address": "s"}, "inet": {"address": "127.0.0.1", "port": port}}[mode]
    config = SocketConfig(mode=mode, **where)
    with listen(config) as listener:
        sock = connect(config, 5)
        server, _ = listener.accept()
        with server, forked_child():
            sock.close()
            server.settimeout(20)
            assert server.recv(1) == b""


def test_the_lock_of_a_file_ends_with_its_owner(tmp_path):
    """A driver that has taken the place of one that was killed was refused its own HILLS."""
    code = """
import os, time
from forceserver.bias.config import MetadynamicsConfig
hills = dict(height_eV=0.1, pace_steps=1, temperature_K=300, grid="none")
bias = MetadynamicsConfig(time_step_fs=1, variables=[dict(name="x", sigma=0.1)], hills=hills).build()
"""
    waiting = """
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""
    owner = subprocess.Popen([sys.executable, "-c", code + waiting], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    child = int(owner.stdout.readline())
    try:
        owner.kill()
        owner.wait()
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    finally:
        os.kill(child, signal.SIGKILL)


def in_a_child(call: Callable[[], object]) -> str:
    """What a forked child raises when it calls this, as text; it has ten seconds."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        signal.alarm(10)
        try:
            said = f"returned {call()!r}"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


class First(fs.Variable):
    def compute(self, frame):
        return fs.CVResult([frame.positions[0, 0]], [0], [[[1, 0, 0]]], [[[0] * 3] * 3])


def test_a_bias_is_not_for_children(tmp_path):
    """Its hills came into files that it had opened itself, its steps into the clock of its parent."""
    keys = {"height_eV": 0.1, "pace_steps": 1, "temperature_K": 300, "time_step_fs": 1, "grid": "none"}
    atoms = bulk("Cu")

    def calls():
        for x in (0.1, 0.2, 0.3):
            atoms.positions[0, 0] = x
            bias.compute_one(fs.Frame.of(atoms))

    with fs.Metadynamics(First("first", ["x"]), {"first_x": {"sigma": 0.1}}, folder=tmp_path, **keys) as bias:
        calls()
        before = {file: file.read_bytes() for file in tmp_path.iterdir()}
        assert "forked processes cannot use it: make another one there" in in_a_child(calls)
        assert in_a_child(bias.close) == "returned None"
        assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
        calls()


def test_a_child_does_not_wait_for_a_thread_of_its_parent():
    """It waited for ever for a turn: the thread that has it goes on in the parent only (38 of 40)."""
    entered, leave = threading.Event(), threading.Event()

    class Slow(fs.CollectiveVariable):
        def _parts_for(self, pbc):
            if threading.current_thread() is thread:
                entered.set()
                leave.wait(20)
            return super()._parts_for(pbc)

    atoms = bulk("Cu", cubic=True)
    switch = {"kind": "cubic", "d0_angstrom": 2.8, "d_max_angstrom": 3.6}
    thread = None
    variable, other = (Slow(atoms, kind="coordination", centres="Cu", neighbours="Cu", switch=switch) for _ in range(2))
    thread = threading.Thread(target=variable.compute, args=[atoms])
    thread.start()
    try:
        assert entered.wait(20)
        assert "forked while another thread computed" in in_a_child(lambda: variable.compute(atoms))
        assert in_a_child(lambda: round(float(other.compute(atoms).values[0]))) == "returned 12"
    finally:
        leave.set()
        thread.join()
