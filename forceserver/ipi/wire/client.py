"""The force engine's end of a connection."""

from collections.abc import Sequence

from ...errors import ProtocolError
from ...frame import Array, Frame, Result
from ...results import check_count
from .connection import Connection
from .frames import IncomingFrames
from .layout import MessageLayout, in_segments
from .limits import Limits
from .messages import (
    HEADER,
    HEADER_BYTES,
    INIT,
    INT,
    POSDATA,
    SEGMENTS,
    SERVER_MESSAGES,
    Buffers,
    read_init,
    read_segment_names,
)
from .reply import Reply
from .states import BEGIN, COMPUTING, NEEDINIT, RESULTS, SENT, SENT_WANTING_INIT, State

_SPARE_BYTES = 1024  # in the inbox after a POSDATA, for what a server sends without waiting


class ClientConnection(Connection):
    """The force engine's end of one connection.

    template: gives the species and the periodicity of every structure, and the number of atoms that the server must
        send.
    shared_memory: the numbers travel through segments (i-PI's mode "shm") instead of the stream.

    `state` follows the table in states.py. Attributes after INIT: `replica`, `parameters` (the text), `batch`.

    After POSDATA the state is COMPUTING until `set_results`. `frames` are views of the inbox, valid until the next
    POSDATA or INIT. There are `batch` of them, minus repetitions of the last one, with which i-PI fills up a batch. The
    first frame has the replica if INIT came right before it; all others have -1, since i-PI does not say.

    `wants_init` makes the answer to STATUS after a result NEEDINIT instead of READY, so that the server sends the
    replica again. This costs two round trips.
    """

    _known = SERVER_MESSAGES

    def __init__(self, template: Frame, limits: Limits = Limits(), shared_memory: bool = False) -> None:
        super().__init__(len(template), 1, limits, shared_memory)
        self.state: State = NEEDINIT
        self.wants_init = False
        self.replica = self._replica_of_next = -1
        self.parameters = ""
        self.segment_names: list[str] = []
        self._template = template
        self._set_batch(1)

    def _in_use(self) -> bool:
        return self.state is COMPUTING

    def _set_batch(self, batch: int) -> None:
        self.batch = batch
        self._layout = MessageLayout(self.atoms, batch, self._layout.shared_memory)
        self._incoming = IncomingFrames(self._template, self._layout)
        self._reply = Reply(self._layout, self._limits.max_string_bytes)
        self.frames = self._incoming.frames
        self._make_views()
        self._reserve(self._layout.posdata_bytes + _SPARE_BYTES)

    def _make_views(self) -> None:
        if not self._layout.shared_memory and len(self._inbox) >= self._layout.posdata_bytes:
            self._incoming.attach(self._layout.structures_in(self._inbox))

    def attach(self, segments: Sequence[Array]) -> None:
        """Attaches the six shared-memory arrays, in the order of `segment_names`, of shapes `segment_shapes()`."""
        structures, results = in_segments(segments)
        self._incoming.attach(structures)
        self._reply.attach(results)

    def detach(self) -> None:
        """Releases the shared-memory arrays; the connection can no longer be used."""
        self._incoming.detach()
        self._reply.detach()

    def next_message(self) -> bytes | None:
        """The next complete message of the server; `None` if more bytes are needed.

        One of STATUS, INIT, POSDATA, GETFORCE, EXIT; or SEGMENTS, once: `segment_names` must then be attached, and the
        POSDATA that brought the names comes with the next call.

        Raises `ProtocolError` if the server sends what the protocol or the limits do not allow.
        """
        start, end = self._start, self._end
        if end - start < HEADER_BYTES:
            return None if start == end else self._header()
        header = HEADER.unpack_from(self._bytes, start)[0]
        if header == POSDATA:
            return self._take_positions(start, end)
        if header == INIT:
            return self._take_init()
        try:
            self.state = state = self.state.after[header]
        except KeyError:
            self._header()  # raises if there is no such message
            raise ProtocolError(f"the server sent {header.decode().rstrip()} before any POSDATA") from None
        start += HEADER_BYTES
        if start == end and state is not COMPUTING:
            self._start = self._end = 0
        else:
            self._start = start
        return header

    def _take_init(self) -> bytes | None:
        self.state = self.state.after[BEGIN]
        self._to_front()
        init = read_init(self._bytes[: self._end], self._limits)
        if isinstance(init, int):
            self._reserve(init + HEADER_BYTES)
            return None
        if init.batch != self.batch:
            if self._layout.shared_memory and self._incoming.attached:
                raise ProtocolError(f"the server changed the batch size from {self.batch} to {init.batch}")
            self._set_batch(init.batch)
        self._used(init.size)
        self.replica = self._replica_of_next = init.replica
        self.parameters = init.parameters
        self.state = self.state.after[INIT]
        return INIT

    def _take_positions(self, start: int, end: int) -> bytes | None:
        self.state = self.state.after[BEGIN]
        layout = self._layout
        at = start + layout.posdata_count_at
        if end < at + 4:
            return None
        atoms = INT.unpack_from(self._bytes, at)[0]
        if atoms != self.atoms:
            self._limits.check_atoms(atoms, self.atoms)
        if layout.shared_memory:
            if not self._incoming.attached:
                return self._take_segment_names()
        elif start:
            self._to_front()
            start, end = 0, self._end
        start += layout.posdata_bytes
        if end < start:
            return None
        self.frames = frames = self._incoming.take()
        frames[0].replica, self._replica_of_next = self._replica_of_next, -1
        self._start = start  # not at the front: what comes next must not overwrite the positions
        self.state = self.state.after[POSDATA]
        return POSDATA

    def _take_segment_names(self) -> bytes | None:
        start = self._start
        names = read_segment_names(self._bytes[start + 16 : self._end])
        if names is None:
            return None
        self.segment_names, size = names
        # The header and the count stay, right before what follows, for the call after attach().
        self._start = start + size
        self._bytes[self._start : self._start + 16] = bytes(self._bytes[start : start + 16])
        return SEGMENTS

    def answer(self) -> bytes:
        """The answer to STATUS: NEEDINIT, READY or HAVEDATA. After POSDATA call `set_results` first."""
        return self.state.answer

    def set_results(self, results: Sequence[Result]) -> None:
        """Encodes the results of `frames`, in their order.

        Raises `PotentialError` for wrong counts or shapes, numbers that are not finite, and extras that i-PI would
        choke on; `RuntimeError` if no structure waits for results.
        """
        try:
            state = self.state.after[RESULTS]
        except KeyError:
            raise RuntimeError("set_results() without a structure waiting for results") from None
        check_count(results, len(self.frames))
        self._reply.encode(results)
        self.state = state
        if self._start == self._end:
            self._start = self._end = 0

    def forces(self) -> Buffers:
        """The reply to GETFORCE, to be sent with one call. The buffers are overwritten by the next `set_results`.

        Raises `RuntimeError` if there are no results.
        """
        try:
            self.state = self.state.after[SENT_WANTING_INIT if self.wants_init else SENT]
        except KeyError:
            raise RuntimeError("forces() before set_results()") from None
        return self._reply.buffers
