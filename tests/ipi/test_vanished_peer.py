"""A TCP peer that vanishes without a word, as a node does that loses power: two hosts made of network namespaces."""

import os
import subprocess
import sys
import uuid

import pytest

HERE, THERE = "10.199.7.1", "10.199.7.2"

CLIENT = f"""
import sys, time
from forceserver import sockets
from forceserver.ipi import transports
sockets.GONE_SECONDS = 3
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
