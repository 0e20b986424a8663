"""The bytes between the CV server and the PLUMED action: packing, unpacking and limits; no sockets here.

A client says HELLO with the name of one variable and gets its DESCRIPTION; from then on every POSITIONS is answered
with VALUES. An ERROR (a text for people) may come instead of any answer; after it the server closes the connection.
A message is a header of two uint32, kind and length of what follows, in native byte order:

    HELLO        uint32 magic, version, shared_memory (wanted: 1), number of atoms of the client; name, UTF-8
    DESCRIPTION  uint32 version, shared_memory (given: 1), components d, atoms a; int32 atom[a]; float64
                 mass[a]; names, one a line
    POSITIONS    float64 cell[3][3], position[a][3]; empty if they are in shared memory
    VALUES       uint64 active n; float64 value[d], strain[d][3][3], gradient[d][n][3]; int32 active[n];
                 only the number n if the rest is in shared memory
    ERROR        UTF-8 text

`atom` are 0-based numbers in the client's system, in the order in which it sends positions; `active` are indices into
that list. `mass` is that of their elements (u), by which a client can tell that its atoms are in another order. Cell
vectors are rows; lengths are Angstrom. `strain` is the derivative with respect to a strain that
multiplies positions and cell (r -> r (1 + strain)). Directions whose cell vector is zero are not periodic.

Shared memory is one segment, given by the server as a file descriptor (SCM_RIGHTS) with the first byte of the
DESCRIPTION: the block of POSITIONS, directly followed by the block of VALUES without its count, both large enough for
a configuration in which all atoms are active. The client writes positions before it sends POSITIONS and does not
touch the segment until VALUES has come.

What a peer may send is limited before anything is allocated: a HELLO by `MAX_HELLO`, POSITIONS by the description.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ..cv import CVResult
from ..errors import ProtocolError
from ..frame import Array

MAGIC = 0x46534356  # "FSCV"
VERSION = 2
MAX_NAME = 256

HEADER = struct.Struct("=II")
HELLO = struct.Struct("=IIII")
DESCRIPTION = struct.Struct("=IIII")
COUNT = struct.Struct("=Q")
MAX_HELLO = HELLO.size + MAX_NAME


class Kind(IntEnum):
    """What a message is."""

    HELLO = 1
    DESCRIPTION = 2
    POSITIONS = 3
    VALUES = 4
    ERROR = 5


@dataclass(frozen=True)
class Hello:
    """What a client says first."""

    shared_memory: bool
    atoms: int
    name: str


def message(kind: Kind, *parts: bytes | memoryview) -> bytes:
    """A whole message."""
    return b"".join((HEADER.pack(kind, sum(map(len, parts))), *parts))


def pack_error(text: str) -> bytes:
    """An ERROR message."""
    return message(Kind.ERROR, text.encode()[:4096])


def unpack_header(header: bytes, expected: Kind, lengths: range) -> int:
    """The length of the message body; `ProtocolError` for another kind of message, or a length that is not allowed."""
    kind, length = HEADER.unpack(header)
    if kind != expected:
        raise ProtocolError(f"expected a message of kind {expected.name} ({expected.value}), got kind {kind}")
    if length not in lengths:
        raise ProtocolError(
            f"{expected.name} must be {lengths.start} to {lengths.stop - 1} bytes long, this one announces {length}"
        )
    return length


def unpack_hello(payload: bytes) -> Hello:
    """The content of a HELLO; `ProtocolError` if protocol or version differ, or it cannot be read."""
    magic, version, shared_memory, atoms = HELLO.unpack_from(payload)
    if magic != MAGIC:
        raise ProtocolError("the client is not a FORCESERVER action, or runs on a machine with another byte order")
    if version != VERSION:
        raise ProtocolError(
            f"the action speaks version {version} of the protocol, this server version {VERSION}: take the action from "
            "this forceserver (forceserver plumed path) and build it again"
        )
    try:
        name = payload[HELLO.size :].decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("the name of the variable is not UTF-8") from error
    return Hello(bool(shared_memory), atoms, name)


def pack_hello(hello: Hello) -> bytes:
    """A HELLO message."""
    return message(Kind.HELLO, HELLO.pack(MAGIC, VERSION, hello.shared_memory, hello.atoms), hello.name.encode())


class BlockLayout:
    """Where the numbers of one variable are: a request block and a reply block, one after the other in one buffer.

    atoms, components: how many; `buffer` has `size` bytes and may be shared memory.
    """

    def __init__(self, atoms: int, components: int) -> None:
        self.atoms = atoms
        self.components = components
        self.request_bytes = 8 * (9 + 3 * atoms)
        self.size = self.request_bytes + self.reply_bytes(atoms)

    def reply_bytes(self, active: int) -> int:
        """Length of the reply block for this many active atoms."""
        return 8 * self.components * (10 + 3 * active) + 4 * active

    def read_request(self, buffer: memoryview) -> tuple[Array, Array]:
        """Positions (a, 3) and cell (3, 3), copied; `ProtocolError` if a number is not finite."""
        numbers = np.frombuffer(buffer, dtype=np.float64, count=9 + 3 * self.atoms).copy()
        if not np.isfinite(numbers).all():
            raise ProtocolError("a position or cell vector that the client sent is not a finite number")
        return numbers[9:].reshape(self.atoms, 3), numbers[:9].reshape(3, 3)

    def write_reply(self, buffer: memoryview, result: CVResult) -> int:
        """Writes the reply block after the request block; returns its length in bytes."""
        active = len(result.active)
        d = self.components
        length = self.reply_bytes(active)
        numbers = np.frombuffer(buffer, dtype=np.float64, count=d * (10 + 3 * active), offset=self.request_bytes)
        numbers[:d] = result.values
        numbers[d : 10 * d] = result.strain.reshape(-1)
        numbers[10 * d :] = result.gradients.reshape(-1)
        indices = np.frombuffer(buffer, dtype=np.int32, count=active, offset=self.request_bytes + length - 4 * active)
        indices[:] = result.active
        return length


def pack_description(atoms: np.ndarray, masses: np.ndarray, components: tuple[str, ...], shared_memory: bool) -> bytes:
    """A DESCRIPTION message. atoms: (a,) integers, 0-based. masses: (a,), u."""
    return message(
        Kind.DESCRIPTION,
        DESCRIPTION.pack(VERSION, shared_memory, len(components), len(atoms)),
        np.ascontiguousarray(atoms, dtype=np.int32).tobytes(),
        np.ascontiguousarray(masses, dtype=np.float64).tobytes(),
        "\n".join(components).encode(),
    )
