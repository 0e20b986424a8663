"""The cheapest client in Python: forces are the positions, as they came.

    python echo.py unix|shm PATH        python echo.py tcp PORT

It knows only what i-PI sends with its messages consolidated, allocates nothing per step, and checks nothing.
"""

import socket
import struct
import sys
from multiprocessing import resource_tracker, shared_memory

POSDATA, GETFORCE, READY, FORCEREADY = (
    word.ljust(12).encode() for word in ("POSDATA", "GETFORCE", "READY", "FORCEREADY")
)


def connect(transport: str, address: str) -> socket.socket:
    if transport == "tcp":
        sock = socket.create_connection(("127.0.0.1", int(address)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address)
    return sock


def receive(sock: socket.socket, size: int) -> bytes:
    return sock.recv(size, socket.MSG_WAITALL)


def handshake(sock: socket.socket) -> int:
    """Answers until INIT is there; returns the size of the batch."""
    while receive(sock, 12) != b"INIT        ":
        sock.sendall(b"NEEDINIT    ")
    _, length = struct.unpack("ii", receive(sock, 8))
    text = receive(sock, length).decode()
    receive(sock, 12)
    sock.sendall(READY)
    return int(text.partition("batch_size:")[2] or 1)


def echo_stream(sock: socket.socket, batch: int) -> None:
    """A structure comes as cells, number of atoms, positions; a batch as number of atoms, cells, positions."""
    head = receive(sock, 12 + (144 if batch == 1 else 0) + 4)
    atoms = struct.unpack("i", head[-4:])[0]
    skipped, positions = 0 if batch == 1 else 144 * batch, 24 * atoms * batch
    message = bytearray(len(head) + skipped + positions + 12)
    rest = memoryview(message)[len(head) :]
    reply = [
        FORCEREADY + bytes(8 * batch) + struct.pack("i", atoms),
        rest[skipped : skipped + positions],
        bytes(76 * batch),
    ]
    size = sum(map(len, reply))
    sock.recv_into(rest, 0, socket.MSG_WAITALL)
    while True:
        sent = sock.sendmsg(reply)
        if sent < size:
            sock.sendall(b"".join(reply)[sent:])
        receive(sock, 12)
        sock.send(READY)
        if sock.recv_into(message, 0, socket.MSG_WAITALL) < len(message):
            return


def echo_shared(sock: socket.socket, batch: int) -> None:
    receive(sock, 16)
    segments = []
    for _ in range(6):
        (length,) = struct.unpack("i", receive(sock, 4))
        name = receive(sock, length).decode()
        segments.append(shared_memory.SharedMemory(name))
        resource_tracker.unregister(segments[-1]._name, "shared_memory")
    positions, forces = segments[0].buf, segments[4].buf
    reply = FORCEREADY + bytes(4 * batch)
    receive(sock, 12)
    while True:
        forces[:] = positions
        sock.send(reply)
        receive(sock, 12)
        sock.send(READY)
        if len(receive(sock, 28)) < 28:
            return


if __name__ == "__main__":
    transport, address = sys.argv[1:]
    connection = connect(transport, address)
    batch_size = handshake(connection)
    (echo_shared if transport == "shm" else echo_stream)(connection, batch_size)
