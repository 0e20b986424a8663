"""The i-PI socket protocol as a pure state machine, for both ends of the wire.

Theory of operation
-------------------
A connection object holds one inbox and one outbox, both allocated when the sizes are known and reused for every step.
It never sees a socket. Whoever owns the socket repeats this:

    while (message := connection.next_message()) is None:      # not complete yet
        connection.received(sock.recv_into(connection.space()))
    ...                                                         # act on the message
    sock.sendmsg(connection.something())                        # a list of buffers, one send per reply

`space()` is the free part of the inbox after what has already come in, so numbers go from the kernel straight to where
they are read, and it does not matter how the stream is split into segments. A message that carries numbers is moved to
the front of the inbox unless it is already there (it is, unless the peer sent it together with the one before), which
keeps every view of the inbox valid from step to step.

`ClientConnection` is the force engine: it turns POSDATA into `Frame`s and `Result`s into FORCEREADY.
`ServerConnection` is the simulation engine. The messages that they exchange:

    server  STATUS, INIT, POSDATA, GETFORCE, EXIT
    client  READY, NEEDINIT, HAVEDATA (each an answer to STATUS), FORCEREADY (the answer to GETFORCE)

One idea per file:

    messages     the words, and the messages that carry text: INIT and the names of shared memory
    limits       the largest sizes that a peer may announce
    layout       where the numbers lie: single structures, batches, shared memory
    extras       the string that goes behind the numbers
    states       which message may come in which state, and what follows: one table
    connection   the inbox, common to both ends
    frames       numbers of POSDATA as frames
    reply        results as FORCEREADY
    client       the force engine's end
    server       the simulation engine's end

What belongs here: bytes, units, shapes, and rejecting what the protocol does not allow, in both directions. Sizes that
the peer announces are checked before anything is allocated, and nothing is sent that would make i-PI hang (numbers that
are not finite, wrong counts, extras that are JSON but not an object). No sockets, no clocks, no policy.

Units. The wire is in bohr and hartree with cell vectors as columns; `Frame` and `Result` are in eV and Angstrom with
cell vectors as rows. CODATA values as in `ase.units`. docs/protocol.md has the layouts byte by byte.
"""

from .client import ClientConnection
from .connection import Connection
from .extras import ATOMIC_UNITS_OF_EXTRAS, decode_extras, encode_extras, in_ev_and_angstrom
from .layout import segment_shapes
from .limits import Limits
from .messages import (
    CLIENT_MESSAGES,
    EXIT,
    FORCEREADY,
    GETFORCE,
    HAVEDATA,
    INIT,
    NEEDINIT,
    POSDATA,
    READY,
    SEGMENT_KINDS,
    SEGMENTS,
    SERVER_MESSAGES,
    STATUS,
    Buffers,
)
from .server import ServerConnection
from .states import State

__all__ = [
    "ATOMIC_UNITS_OF_EXTRAS",
    "CLIENT_MESSAGES",
    "EXIT",
    "FORCEREADY",
    "GETFORCE",
    "HAVEDATA",
    "INIT",
    "NEEDINIT",
    "POSDATA",
    "READY",
    "SEGMENTS",
    "SEGMENT_KINDS",
    "SERVER_MESSAGES",
    "STATUS",
    "Buffers",
    "ClientConnection",
    "Connection",
    "Limits",
    "ServerConnection",
    "State",
    "decode_extras",
    "encode_extras",
    "in_ev_and_angstrom",
    "segment_shapes",
]
