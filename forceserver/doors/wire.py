"""The i-PI socket protocol as a pure state machine, for both ends of the wire.

Theory of operation
-------------------
A connection object holds one inbox and one outbox, both allocated when the sizes are known and reused for every step.
It never sees a socket. Whoever owns the socket does this, for ever:

    while (message := connection.next_message()) is None:      # not complete yet
        connection.received(sock.recv_into(connection.space()))
    ...                                                         # act on the message
    sock.sendmsg(connection.something())                        # a list of buffers, one send per reply

`space()` is the free part of the inbox behind what has already come in, so the numbers go from the kernel straight to
the place where they are read, and any split of the stream into segments is as good as any other. A message that
carries numbers is moved to the front of the inbox if it does not lie there already (it does, unless the peer glued it
to the one before), which keeps every view of the inbox valid from step to step.

`ClientConnection` is the force engine: it turns POSDATA into `Frame`s and `Result`s into FORCEREADY.
`ServerConnection` is the simulation engine. The messages that they exchange:

    server  STATUS, INIT, POSDATA, GETFORCE, EXIT
    client  READY, NEEDINIT, HAVEDATA (each an answer to STATUS), FORCEREADY (the answer to GETFORCE)

The client takes the server's messages in any order, because servers differ: i-PI sends POSDATA and GETFORCE together,
ASE asks for the STATUS in between. The one thing that cannot be is GETFORCE before any POSDATA.

    NEEDINIT --INIT--> READY --POSDATA--> computing --set_results()--> HAVEDATA --forces()--> READY | NEEDINIT

What may live here: bytes, units, shapes, and the refusal of what the protocol does not allow, in both directions.
Sizes that the peer announces are checked before anything is allocated, and nothing leaves that would make i-PI hang
(numbers that are not finite, wrong counts, extras that are JSON but no object). No sockets, no clocks, no policy.

Units. The wire is in bohr and hartree with cell vectors as columns; `Frame` and `Result` are in eV and Angstrom with
cell vectors as rows. CODATA values as in `ase.units`. docs/protocol.md has the layouts byte by byte.
"""

import codecs
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.units import Bohr, Hartree

from .. import _ext
from ..errors import PotentialError, ProtocolError
from ..frame import Array, Frame, Result
from .checks import check_cells, check_count, check_positions, check_results

HEADER_BYTES = 12

STATUS, INIT, POSDATA, GETFORCE, EXIT = SERVER_MESSAGES = (
    b"STATUS      ",
    b"INIT        ",
    b"POSDATA     ",
    b"GETFORCE    ",
    b"EXIT        ",
)
READY, NEEDINIT, HAVEDATA, FORCEREADY = CLIENT_MESSAGES = (
    b"READY       ",
    b"NEEDINIT    ",
    b"HAVEDATA    ",
    b"FORCEREADY  ",
)

SEGMENTS = b"SEGMENTS"
"""Not on the wire: what `ClientConnection.next_message` returns when shared memory must be attached first."""

SEGMENT_KINDS = ("pos", "h", "ih", "pot", "force", "vir")
MAX_SEGMENT_NAME = 255

Buffers = list[bytes | memoryview]

_kernel = _ext.kernel("atomic_units")
_scale, _encode = _kernel.scale, _kernel.encode

_HEADER = struct.Struct("=12s")
_INT = struct.Struct("=i")
_TWO_INTS = struct.Struct("=ii")


@dataclass(frozen=True)
class Limits:
    """The largest sizes that a peer may announce; extras that are sent obey `max_string_bytes`, too."""

    max_atoms: int = 10_000_000
    max_batch: int = 1024
    max_string_bytes: int = 1 << 26


def positions_bytes(atoms: int, batch: int) -> int:
    """Length of POSDATA through a stream, header included."""
    return 16 + batch * (144 + 24 * atoms)


def forces_bytes(atoms: int, batch: int) -> int:
    """Length of FORCEREADY through a stream up to the extras, header included."""
    return 16 + batch * (80 + 24 * atoms)


def segment_shapes(atoms: int, batch: int) -> tuple[tuple[int, ...], ...]:
    """Shapes (float64) of the six shared-memory segments in the order of `SEGMENT_KINDS`."""
    return (batch, atoms, 3), (batch, 3, 3), (batch, 3, 3), (batch,), (batch, atoms, 3), (batch, 3, 3)


def _reals(buffer: np.ndarray, offset: int, *shape: int) -> Array:
    return buffer[offset : offset + 8 * math.prod(shape)].view(np.float64).reshape(shape)


def _positions_views(buffer: np.ndarray, atoms: int, batch: int) -> tuple[Array, Array, Array]:
    """Cells (batch, 2, 3, 3) with their inverses, and positions (batch, atoms, 3), of a POSDATA at the front."""
    cells_at = 12 if batch == 1 else 16
    return _reals(buffer, cells_at, batch, 2, 3, 3), _reals(buffer, 16 + 144 * batch, batch, atoms, 3)


def _forces_views(buffer: np.ndarray, atoms: int, batch: int) -> tuple[Array, Array, Array]:
    """Energies (batch,), forces (batch, atoms, 3) and virials (batch, 3, 3) of a FORCEREADY at the front."""
    forces_at = 16 + 8 * batch
    return (
        _reals(buffer, 12, batch),
        _reals(buffer, forces_at, batch, atoms, 3),
        _reals(buffer, forces_at + 24 * atoms * batch, batch, 3, 3),
    )


class _Connection:
    """What both ends share: the inbox, and finding messages in it."""

    _known: frozenset[bytes]
    computing = False  # whether numbers in the inbox are still in use

    def __init__(self, atoms: int, limits: Limits, shared_memory: bool) -> None:
        if not 0 < atoms <= limits.max_atoms:
            raise ProtocolError(f"{atoms} atoms: must be at least 1 and at most max_atoms = {limits.max_atoms}")
        self.atoms = atoms
        self.batch = 1
        self._limits = limits
        self._shared_memory = shared_memory
        self._segments: Sequence[Array] | None = None
        self._start = self._end = 0  # what has come in and is not used up: inbox[start:end]
        self._inbox = np.zeros(0, np.uint8)
        self._bytes = memoryview(self._inbox)

    def space(self) -> memoryview:
        """Where the next bytes of the stream belong; never empty."""
        if not self._end:
            return self._bytes
        if self._end == len(self._bytes):
            if not self.computing:
                self._to_front()
            if self._end == len(self._bytes):
                self._reserve(2 * self._end)
        return self._bytes[self._end :]

    def received(self, count: int) -> None:
        """Says that `count` bytes have been written to the front of `space()`."""
        self._end += count

    def __repr__(self) -> str:
        return f"{type(self).__name__}(atoms={self.atoms}, batch={self.batch}, unread={self.unread()!r})"

    def unread(self) -> bytes:
        """The first 16 bytes that have come in and have not been understood (yet)."""
        return bytes(self._bytes[self._start : min(self._end, self._start + 16)])

    def _reserve(self, size: int) -> None:
        """Makes the inbox at least `size` bytes long; all views of it become stale if it has to grow."""
        if size > len(self._inbox):
            inbox = np.zeros(size, np.uint8)
            inbox[: self._end] = self._inbox[: self._end]
            self._inbox, self._bytes = inbox, memoryview(inbox)
            self._make_views()

    def _make_views(self) -> None:
        raise NotImplementedError

    def _to_front(self) -> None:
        """Moves what has come in to the front of the inbox."""
        start, end = self._start, self._end
        if start:
            self._bytes[: end - start] = self._bytes[start:end]
            self._start, self._end = 0, end - start

    def _used(self, end: int) -> None:
        """Everything before `end` has been understood."""
        if end == self._end:
            self._start = self._end = 0
        else:
            self._start = end

    def _header(self) -> bytes | None:
        """The header of the next message; `None` if it is not complete, an error as soon as it cannot become one."""
        start = self._start
        header = bytes(self._bytes[start : min(start + HEADER_BYTES, self._end)])
        if header in self._known:
            return header
        if len(header) < HEADER_BYTES and any(known.startswith(header) for known in self._known):
            return None
        words = ", ".join(sorted(known.decode().rstrip() for known in self._known))
        raise ProtocolError(f"the peer sent {self.unread()!r}, which starts with none of {words}")

    def _int(self, at: int) -> int | None:
        return _INT.unpack_from(self._bytes, at)[0] if at + 4 <= self._end else None

    def _refuse_count(self, atoms: int) -> None:
        limit = self._limits.max_atoms
        if not 0 < atoms <= limit:
            raise ProtocolError(f"the peer announced {atoms} atoms: must be at least 1 and at most max_atoms = {limit}")
        raise ProtocolError(f"the peer announced {atoms} atoms, but the template structure here has {self.atoms}")

    def _check_length(self, length: int, what: str) -> None:
        limit = self._limits.max_string_bytes
        if not 0 <= length <= limit:
            raise ProtocolError(f"{what} of {length} bytes: must be at least 0 and at most max_string_bytes = {limit}")


class ClientConnection(_Connection):
    """The force engine's end of one connection.

    template: gives the species and the periodicity of every structure, and the number of atoms that the server must
        send.
    shared_memory: the numbers travel through segments (i-PI's mode "shm") instead of the stream.

    Attributes after INIT: `replica`, `parameters` (the text), `batch`.

    After POSDATA `computing` is true until `set_results`. `frames` are views of what came in, and hold until the next
    POSDATA or INIT. There are `batch` of them, less those at the end that only repeat the one before them, which is how
    i-PI fills up a batch. The first frame carries the replica if INIT came right before it, all others -1: i-PI does
    not tell.

    `wants_init` makes the answer to STATUS after a result NEEDINIT instead of READY, so that the server tells the
    replica again. It costs two round trips.
    """

    _known = frozenset(SERVER_MESSAGES)

    def __init__(self, template: Frame, limits: Limits = Limits(), shared_memory: bool = False) -> None:
        super().__init__(len(template), limits, shared_memory)
        self._template = template
        self._answer = NEEDINIT
        self._fresh_replica = False
        self.computing = False
        self.wants_init = False
        self.replica = -1
        self.parameters = ""
        self.segment_names: list[str] = []
        self._set_batch(1)

    def _set_batch(self, batch: int) -> None:
        self.batch = batch
        self._posdata_bytes = 16 if self._shared_memory else positions_bytes(self.atoms, batch)
        self._count_at = 156 if batch == 1 and not self._shared_memory else 12
        self._cells = np.zeros((batch, 3, 3))
        self._cells_seen = b""
        numbers = HEADER_BYTES if self._shared_memory else forces_bytes(self.atoms, batch)
        self._numbers_bytes = numbers
        outbox = np.zeros(numbers + 4 * batch, np.uint8)  # the lengths of the extras at the end stay zero
        self._outbox = memoryview(outbox)
        self._outbox[:HEADER_BYTES] = FORCEREADY
        if not self._shared_memory:
            _INT.pack_into(outbox, HEADER_BYTES + 8 * batch, self.atoms)
            self._set_outgoing(*_forces_views(outbox, self.atoms, batch))
        self._reply = self._reply_without_extras = [self._outbox]
        size = self._posdata_bytes + 1024
        if len(self._inbox) < size:
            self._reserve(size)
        else:
            self._make_views()

    def _set_outgoing(self, energies: Array, forces: Array, virials: Array) -> None:
        self._energies, self._forces, self._virials = energies, forces, virials

    def _make_views(self) -> None:
        if not self._shared_memory:
            cells, self._incoming_positions = _positions_views(self._inbox, self.atoms, self.batch)
            self._incoming_cells = cells[:, 0].transpose(0, 2, 1)
            at = 12 if self.batch == 1 else 16
            self._cells_bytes = self._bytes[at : at + 144 * self.batch]
            self._set_frames(self._incoming_positions)

    def _set_frames(self, positions: Array) -> None:
        """Frames on `positions`; for a stream these are the numbers in the inbox, converted where they are."""
        species, pbc = self._template.species, self._template.pbc
        self._positions = positions
        self.frames = self._all_frames = [
            Frame(*arrays, species, pbc) for arrays in zip(positions, self._cells, strict=True)
        ]

    def attach(self, segments: Sequence[Array]) -> None:
        """Gives the six shared-memory arrays, in the order of `segment_names` and of the shapes `segment_shapes()`."""
        self._segments = segments
        self._incoming_positions, cells, _, energies, forces, virials = segments
        self._incoming_cells = cells.transpose(0, 2, 1)
        self._cells_bytes = memoryview(cells).cast("B")
        self._set_frames(np.empty_like(self._incoming_positions))
        self._set_outgoing(energies, forces, virials)

    def detach(self) -> None:
        """Forgets the shared-memory arrays; the connection cannot be used any more."""
        self._segments = self._incoming_positions = self._incoming_cells = self._cells_bytes = None
        self._energies = self._forces = self._virials = None

    def next_message(self) -> bytes | None:
        """The next message of the server, fully taken in; `None` if more bytes are needed.

        One of STATUS, INIT, POSDATA, GETFORCE, EXIT; or SEGMENTS, once: `segment_names` must then be attached, and the
        POSDATA that brought the names comes with the next call.

        Raises `ProtocolError` if the server sends what the protocol or the limits do not allow.
        """
        start, end = self._start, self._end
        if end - start < HEADER_BYTES:
            return None if start == end else self._header()
        header = _HEADER.unpack_from(self._bytes, start)[0]
        if header == POSDATA:
            return self._take_positions()
        if header == INIT:
            return self._take_init()
        if header == GETFORCE:
            if not self.computing and self._answer != HAVEDATA:
                raise ProtocolError("the server sent GETFORCE before any POSDATA")
        elif header != STATUS and header != EXIT:
            return self._header()
        start += HEADER_BYTES
        if start == end and not self.computing:
            self._start = self._end = 0
        else:
            self._start = start
        return header

    def _take_init(self) -> bytes | None:
        start = self._start
        self.computing = False
        if self._end < start + 20:
            return None
        replica, length = _TWO_INTS.unpack_from(self._bytes, start + HEADER_BYTES)
        self._check_length(length, "INIT string")
        self._to_front()
        text = self._init_text(length)
        if text is None:
            return None
        self._used(20 + len(text))
        try:
            self.parameters = text.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(f"the INIT string is not UTF-8: {text[:16]!r}") from error
        self.replica = replica
        batch = self._announced_batch()
        if batch != self.batch:
            if self._segments is not None:
                raise ProtocolError(f"the server changed the batch size from {self.batch} to {batch}")
            self._set_batch(batch)
        self._answer = READY
        self._fresh_replica = True
        return INIT

    def _init_text(self, length: int) -> bytes | None:
        """The bytes of the INIT string at the front of the inbox, `None` if they are not all there.

        i-PI announces the length in characters but sends UTF-8, others announce bytes. The two differ only if there are
        characters beyond ASCII; then the header that must follow INIT tells which it was.
        """
        if not self._complete(20 + length):
            return None
        text = bytes(self._bytes[20 : 20 + length])
        if text.isascii():
            return text
        if not self._complete(20 + length + HEADER_BYTES):
            return None
        if bytes(self._bytes[20 + length : 20 + length + HEADER_BYTES]) in self._known:
            return text
        size = 0
        decoder, characters = codecs.getincrementaldecoder("utf-8")(), 0
        while characters < length:  # every character that is missing is at least one byte
            more = size + length - characters
            self._check_length(more, "INIT string")
            if not self._complete(20 + more):
                return None
            try:
                characters += len(decoder.decode(self._bytes[20 + size : 20 + more]))
            except UnicodeDecodeError as error:
                raise ProtocolError(f"the INIT string is not UTF-8: {text[:16]!r}") from error
            size = more
        return bytes(self._bytes[20 : 20 + size])

    def _complete(self, size: int) -> bool:
        if self._end < size:
            self._reserve(size + HEADER_BYTES)
            return False
        return True

    def _announced_batch(self) -> int:
        for token in self.parameters.split(","):
            key, colon, value = token.partition(":")
            if colon and key.strip() == "batch_size":
                limit = self._limits.max_batch
                try:
                    batch = int(value)
                except ValueError:
                    batch = 0
                if not 0 < batch <= limit:
                    raise ProtocolError(
                        f"INIT announces batch_size:{value.strip()[:16]}; must be a whole number from 1 to max_batch = "
                        f"{limit}"
                    )
                return batch
        return 1

    def _take_positions(self) -> bytes | None:
        self.computing = False  # a new structure replaces the one before from its first byte on
        start, end = self._start, self._end
        at = start + self._count_at
        if end < at + 4:
            return None
        atoms = _INT.unpack_from(self._bytes, at)[0]
        if atoms != self.atoms:
            self._refuse_count(atoms)
        if self._shared_memory:
            if self._segments is None:
                return self._take_segment_names()
        elif start:
            self._to_front()
            start, end = 0, self._end
        start += self._posdata_bytes
        if end < start:
            return None
        self._start = start  # what comes next must not overwrite the positions
        if not _scale(self._incoming_positions, self._positions, Bohr):
            check_positions(self._positions)
        if self._cells_bytes.tobytes() != self._cells_seen:  # same cell as before: nothing to convert or check
            self._take_cells()
        if self.batch > 1:
            self.frames = self._all_frames[: self._count_distinct()]
        self._all_frames[0].replica = self.replica if self._fresh_replica else -1
        self._fresh_replica = False
        self._answer = READY  # and no longer HAVEDATA, should the server not have fetched the result before
        self.computing = True
        return POSDATA

    def _count_distinct(self) -> int:
        """The number of structures without those at the end that repeat the one before them."""
        count, positions, cells = self.batch, self._positions, self._cells
        while count > 1:
            last, before = positions[count - 1], positions[count - 2]
            same = (
                last[0, 0] == before[0, 0] and (last == before).all() and (cells[count - 1] == cells[count - 2]).all()
            )
            if not same:
                break
            count -= 1
        return count

    def _take_segment_names(self) -> bytes | None:
        at, names = self._start + 16, []
        for _ in SEGMENT_KINDS:
            length = self._int(at)
            if length is None:
                return None
            if not 0 < length <= MAX_SEGMENT_NAME:
                raise ProtocolError(
                    f"name of a shared-memory segment of {length} bytes: must be 1 to {MAX_SEGMENT_NAME}"
                )
            at += 4
            if self._end < at + length:
                return None
            name = bytes(self._bytes[at : at + length])
            if not name.isascii() or b"/" in name or b"\0" in name:
                raise ProtocolError(f"the server sent {name[:16]!r} as the name of a shared-memory segment")
            names.append(name.decode())
            at += length
        self.segment_names = names
        # The header and the count stay, right before what follows, for the call after attach().
        header = bytes(self._bytes[self._start : self._start + 16])
        self._start = at - 16
        self._bytes[self._start : at] = header
        return SEGMENTS

    def _take_cells(self) -> None:
        np.multiply(self._incoming_cells, Bohr, out=self._cells)
        check_cells(self._cells, self._template.pbc)
        self._cells_seen = self._cells_bytes.tobytes()

    def answer(self) -> bytes:
        """The answer to STATUS: NEEDINIT, READY or HAVEDATA. After POSDATA call `set_results` first."""
        return self._answer

    def set_results(self, results: Sequence[Result]) -> None:
        """Encodes the results of `frames`, in their order.

        Raises `PotentialError` for wrong counts or shapes, numbers that are not finite, and extras that i-PI would
        choke on.
        """
        check_count(results, len(self.frames))
        try:
            finite = _encode(results, self._energies, self._forces, self._virials, Hartree, Hartree / Bohr)
        except ValueError:
            finite = False
        if not finite:
            check_results(results, self.atoms)
            raise PotentialError("the potential returned numbers that are too large for atomic units")
        self._reply = self._reply_without_extras
        for result in results:
            if result.extras:
                self._reply = [self._outbox[: self._numbers_bytes], self._encode_extras(results)]
                break
        self._answer = HAVEDATA
        self.computing = False
        if self._start == self._end:
            self._start = self._end = 0

    def _encode_extras(self, results: Sequence[Result]) -> bytes:
        texts = [encode_extras(result.extras, self._limits.max_string_bytes) for result in results]
        texts += texts[-1:] * (self.batch - len(texts))
        return b"".join(_INT.pack(len(text)) + text for text in texts)

    def forces(self) -> Buffers:
        """The reply to GETFORCE, to be sent with one call. The buffers are overwritten by the next `set_results`."""
        if self._answer != HAVEDATA:
            raise RuntimeError("forces() before set_results()")
        self._answer = NEEDINIT if self.wants_init else READY
        return self._reply


ATOMIC_UNITS_OF_EXTRAS = {
    "committee_pot": 1.0 / Hartree,
    "committee_uncertainty": 1.0 / Hartree,
    "committee_virial": 1.0 / Hartree,
    "committee_force": Bohr / Hartree,
    "committee_force_uncertainty": Bohr / Hartree,
    "energy_uncertainty": 1.0 / Hartree,
    "atomic_energy_uncertainty": 1.0 / Hartree,
    "dipole": 1.0 / Bohr,
}
"""What our numbers (eV, Angstrom, elementary charges) are multiplied with in the extras whose names i-PI knows."""


def _in_atomic_units(extras: dict[str, Any]) -> dict[str, Any]:
    factors = {name: ATOMIC_UNITS_OF_EXTRAS[name] for name in extras.keys() & ATOMIC_UNITS_OF_EXTRAS}
    return extras | {name: np.asarray(extras[name], dtype=np.float64) * factor for name, factor in factors.items()}


def encode_extras(extras: dict[str, Any] | str, max_bytes: int = Limits.max_string_bytes) -> bytes:
    """The extras string as i-PI can read it.

    A dictionary becomes a JSON object, numpy arrays become lists, the names in `ATOMIC_UNITS_OF_EXTRAS` are converted;
    text goes as it is. i-PI hangs on JSON that is not an object, on a field `raw` and on bytes that are not UTF-8,
    hence `PotentialError` for these, and for numbers that are not finite, which JSON does not know.
    """
    if isinstance(extras, str):
        text = extras
        try:
            value = json.loads(text)
        except ValueError:
            value = {}
    else:
        value = extras
        try:
            text = json.dumps(_in_atomic_units(extras), default=_plain, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise PotentialError(f"the extras cannot be written as JSON: {error}") from error
    if not isinstance(value, dict):
        raise PotentialError(f"the extras are JSON but not an object: {text[:40]!r}")
    if "raw" in value:
        raise PotentialError("the extras have a field 'raw', a name that i-PI keeps for itself")
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise PotentialError(f"the extras cannot be written as UTF-8: {error}") from error
    if len(data) > max_bytes:
        raise PotentialError(f"extras of {len(data)} bytes: at most max_string_bytes = {max_bytes}")
    return data


def decode_extras(data: bytes) -> dict[str, Any]:
    """The extras string as i-PI understands it: a JSON object as a dictionary, other text under the key `raw`.

    The numbers are those of the wire, in atomic units. Raises `ProtocolError` for what makes i-PI hang.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the extras are not UTF-8: {data[:16]!r}") from error
    if not text.strip("\0 \t\n\r"):
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return {"raw": text}
    if not isinstance(value, dict) or "raw" in value:
        raise ProtocolError(f"the extras must be a JSON object without a field 'raw', or no JSON: {text[:40]!r}")
    return value


def _plain(value: Any) -> Any:
    """What JSON can say, for numpy's arrays and scalars."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


class ServerConnection(_Connection):
    """The simulation engine's end of one connection.

    atoms, batch: what every POSDATA will hold; `batch` > 1 is announced in INIT.
    shared_memory: `attach()` must be called with the six arrays before the first `positions()`.

    After FORCEREADY, `results` has one `Result` per structure.
    """

    _known = frozenset(CLIENT_MESSAGES)

    def __init__(self, atoms: int, batch: int = 1, limits: Limits = Limits(), shared_memory: bool = False) -> None:
        super().__init__(atoms, limits, shared_memory)
        self.batch = batch
        self.results: list[Result] = []
        self._numbers_bytes = HEADER_BYTES if shared_memory else forces_bytes(atoms, batch)
        self._trigger = b""
        if not shared_memory:
            outbox = np.zeros(positions_bytes(atoms, batch) + HEADER_BYTES, np.uint8)
            self._outbox = memoryview(outbox)
            self._outbox[:HEADER_BYTES] = POSDATA
            _INT.pack_into(outbox, 156 if batch == 1 else 12, atoms)
            self._outbox[-HEADER_BYTES:] = GETFORCE
            cells, self._positions = _positions_views(outbox, atoms, batch)
            self._cells, self._inverses = cells[:, 0], cells[:, 1]
        self._reserve(max(4096, self._numbers_bytes + 4 * batch))

    def _make_views(self) -> None:
        if not self._shared_memory:
            self._energies, self._forces, self._virials = _forces_views(self._inbox, self.atoms, self.batch)

    def attach(self, segments: Sequence[Array], names: Sequence[str]) -> None:
        """Gives the six shared-memory arrays, and the names under which the client finds them."""
        self._segments = segments
        self._positions, self._cells, self._inverses, self._energies, self._forces, self._virials = segments
        encoded = [name.encode() for name in names]
        self._trigger = b"".join(_INT.pack(len(name)) + name for name in encoded)

    def init(self, replica: int, parameters: str = " ") -> bytes:
        """INIT, with the batch size appended as i-PI does; the length is in bytes."""
        if self.batch > 1:
            parameters += f"{',' if parameters.strip() else ''} batch_size:{self.batch}"
        text = parameters.encode()
        return INIT + _TWO_INTS.pack(replica, len(text)) + text

    def positions(self, frames: Sequence[Frame], getforce: bool = True) -> Buffers:
        """POSDATA for `batch` frames, with GETFORCE behind it as in i-PI's consolidated messages unless told otherwise.

        The inverse of a singular cell is sent as zeros.
        """
        for index, frame in enumerate(frames):
            np.divide(frame.positions, Bohr, out=self._positions[index])
            np.divide(frame.cell.T, Bohr, out=self._cells[index])
            try:
                self._inverses[index] = np.linalg.inv(self._cells[index])
            except np.linalg.LinAlgError:
                self._inverses[index] = 0.0
        if not self._shared_memory:
            return [self._outbox if getforce else self._outbox[:-HEADER_BYTES]]
        message = POSDATA + _INT.pack(self.atoms) + self._trigger + (GETFORCE if getforce else b"")
        self._trigger = b""
        return [message]

    def next_message(self) -> bytes | None:
        """The next message of the client, fully taken in; `None` if more bytes are needed.

        Raises `ProtocolError` if the client sends what the protocol or the limits do not allow.
        """
        if self._start == self._end:
            return None
        header = self._header()
        if header == FORCEREADY:
            return self._take_forces()
        if header is not None:
            self._used(self._start + HEADER_BYTES)
        return header

    def _take_forces(self) -> bytes | None:
        self._to_front()
        if not self._shared_memory:
            atoms = self._int(HEADER_BYTES + 8 * self.batch)
            if atoms is None:
                return None
            if atoms != self.atoms:
                self._refuse_count(atoms)
        at, extras = self._numbers_bytes, []
        for _ in range(self.batch):
            length = self._int(at)
            if length is None:
                return None
            self._check_length(length, "extras")
            at += 4
            if self._end < at + length:
                self._reserve(at + length + 4 * self.batch)
                return None
            extras.append(decode_extras(bytes(self._bytes[at : at + length])))
            at += length
        self.results = [
            Result(float(energy) * Hartree, forces * (Hartree / Bohr), virial * Hartree, extra)
            for energy, forces, virial, extra in zip(self._energies, self._forces, self._virials, extras, strict=True)
        ]
        self._used(at)
        return FORCEREADY
