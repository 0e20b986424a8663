"""A TCP peer that vanishes without a word, as a node does that loses power: two hosts made of network namespaces."""

import os
import subprocess
import sys
import uuid

import numpy as np
import pytest
from ase.build import bulk
from proc import kill_family, wait_until

HERE, THERE = "10.199.7.1", "10.199.7.2"

CLIENT = f"""
import sys, time
from forceserver import sockets
from forceserver.ipi import transports
sockets.GONE_SECONDS = 8
sock = transports.connect(transports.SocketConfig(mode="inet", address="{THERE}", port=31999), 20)
print("connected", flush=True)
sys.stdin.readline()  # the evaluation; meanwhile the peer vanishes
begin = time.monotonic()
try:
    while True:
        sock.sendall(bytes(1000))
        time.sleep(0.2)
except OSError as error:
    print(f"{{time.monotonic() - begin:.1f}} {{error.strerror}}", flush=True)
"""
SERVER = f"""
import socket, time
with socket.create_server(("{THERE}", 31999)) as server:
    print("listening", flush=True)
    connection, _ = server.accept()
    time.sleep(1000)
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts():
    """Two network namespaces with a cable between them."""
    name = uuid.uuid4().hex[:6]
    here, there = f"fs{name}a", f"fs{name}b"
    try:
        ip("netns", "add", here)
        ip("netns", "add", there)
        ip("link", "add", here, "netns", here, "type", "veth", "peer", "name", there, "netns", there)
        for host, address in ((here, HERE), (there, THERE)):
            ip("-n", host, "addr", "add", f"{address}/24", "dev", host)
            ip("-n", host, "link", "set", host, "up")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not make network namespaces")
    yield here, there
    for host in (here, there):
        subprocess.run(["ip", "netns", "del", host], capture_output=True)


def start(host: str, code: str) -> subprocess.Popen:
    command = ["ip", "netns", "exec", host, sys.executable, "-c", code]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)


def test_a_peer_that_vanishes_while_the_driver_computes_is_noticed(hosts):
    """After TCP_USER_TIMEOUT instead of fifteen minutes of sending again (930 s measured)."""
    here, there = hosts
    server = start(there, SERVER)
    assert server.stdout.readline() == "listening\n"
    client = start(here, CLIENT)
    try:
        assert client.stdout.readline() == "connected\n"
        ip("-n", there, "link", "set", there, "down")  # the cable is cut
        said, _ = client.communicate("go\n", timeout=60)
        assert "timed out" in said or "No route" in said or "unreachable" in said
    finally:
        client.kill()
        server.kill()


CALCULATOR = """
import pathlib, time
from ase.calculators.emt import EMT

class Hanging(EMT):
    calls = 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        Hanging.calls += 1
        if Hanging.calls > 5:
            pathlib.Path(__file__).with_name("computing").touch()
            time.sleep(1000)
"""
CONFIG = f"""
[structure]
file = "al.extxyz"
[potential]
kind = "ase"
calculator = "CALCULATOR"
[socket]
mode = "inet"
address = "{HERE}"
port = 31998
[simulation]
input = "input.xml"
"""
INPUT = """
<simulation verbosity='low' threading='False'>
  <output prefix='out'><properties stride='1' filename='p'> [ step, conserved ] </properties></output>
  <total_steps>12</total_steps>
  <ffsocket name='f' mode='inet'><address>0.0.0.0</address><port>31998</port><latency>0</latency></ffsocket>
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


@pytest.mark.long
def test_a_machine_that_vanishes_leaves_its_structure_to_another_driver(hosts, tmp_path):
    """i-PI without <timeout>, which sets no bound on silence itself and waited for ever."""
    here, there = hosts
    ip("-n", here, "link", "set", "lo", "up")
    bulk("Al", cubic=True).write(tmp_path / "al.extxyz")
    (tmp_path / "input.xml").write_text(INPUT)
    (tmp_path / "hanging.py").write_text(CALCULATOR)
    for name, calculator in (("good", "ase.calculators.emt.EMT"), ("hanging", "hanging.Hanging")):
        (tmp_path / f"{name}.toml").write_text(CONFIG.replace("CALCULATOR", calculator))

    def start(host: str, *arguments: str) -> subprocess.Popen:
        code = "from forceserver import sockets; sockets.GONE_SECONDS = 8; from forceserver.cli import main; main()"
        command = ["ip", "netns", "exec", host, sys.executable, "-c", code, *arguments]
        return subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})

    started = [start(here, "launch", "good.toml", "-n", "0"), start(there, "drive", "hanging.toml")]
    try:
        wait_until((tmp_path / "computing").exists)
        ip("-n", there, "link", "set", there, "down")  # the cable is cut
        started.append(start(here, "drive", "good.toml"))
        assert started[0].wait(120) == 0
        np.testing.assert_array_equal(np.loadtxt(tmp_path / "out.p")[:, 0], np.arange(13))
    finally:
        for process in started:
            kill_family(process)
