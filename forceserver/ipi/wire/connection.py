"""What both ends share: the inbox, and finding messages in it."""

from collections.abc import Sequence

import numpy as np

from ...errors import ProtocolError
from .layout import MessageLayout
from .limits import Limits
from .messages import HEADER_BYTES, INT


class Connection:
    """One end of a connection.

    A rejected message stays in the inbox, so that asking again raises the same error.
    """

    _known: Sequence[bytes]
    """The headers of the messages that the peer may send."""

    def __init__(self, atoms: int, batch: int, limits: Limits, shared_memory: bool) -> None:
        limits.check_own_atoms(atoms)
        self.atoms = atoms
        self.batch = batch
        self._limits = limits
        self._layout = MessageLayout(atoms, batch, shared_memory)
        self._start = self._end = 0  # received and not yet consumed: inbox[start:end]
        self._inbox = np.zeros(0, np.uint8)
        self._bytes = memoryview(self._inbox)

    def space(self) -> memoryview:
        """Where the next bytes of the stream belong; never empty."""
        if not self._end:
            return self._bytes
        if self._end == len(self._bytes):
            if not self._in_use():
                self._to_front()
            if self._end == len(self._bytes):
                self._reserve(2 * self._end)
        return self._bytes[self._end :]

    def received(self, count: int) -> None:
        """Notes that `count` bytes have been written to the front of `space()`."""
        self._end += count

    def __repr__(self) -> str:
        return f"{type(self).__name__}(atoms={self.atoms}, batch={self.batch}, unread={self.unread()!r})"

    def unread(self) -> bytes:
        """The first 16 bytes that have been received and not (yet) understood."""
        return bytes(self._bytes[self._start : min(self._end, self._start + 16)])

    def _reserve(self, size: int) -> None:
        """Makes the inbox at least `size` bytes long; all views of it become stale if it has to grow."""
        if size > len(self._inbox):
            inbox = np.zeros(size, np.uint8)
            inbox[: self._end] = self._inbox[: self._end]
            self._inbox, self._bytes = inbox, memoryview(inbox)
            self._make_views()

    def _make_views(self) -> None:
        """Makes the views of the numbers anew, after a change of inbox or layout."""
        raise NotImplementedError

    def _in_use(self) -> bool:
        """Whether numbers in the inbox, before `_start`, are still in use."""
        return False

    def _to_front(self) -> None:
        """Moves what has been received to the front of the inbox."""
        start, end = self._start, self._end
        if start:
            self._bytes[: end - start] = self._bytes[start:end]
            self._start, self._end = 0, end - start

    def _used(self, end: int) -> None:
        """Notes that everything before `end` has been understood."""
        if end == self._end:
            self._start = self._end = 0
        else:
            self._start = end

    def _header(self) -> bytes | None:
        """The header of the next message; `None` while it is incomplete, an error as soon as it cannot become one."""
        start = self._start
        header = bytes(self._bytes[start : min(start + HEADER_BYTES, self._end)])
        if header in self._known:
            return header
        if len(header) < HEADER_BYTES and any(known.startswith(header) for known in self._known):
            return None
        words = ", ".join(sorted(known.decode().rstrip() for known in self._known))
        raise ProtocolError(f"the peer sent {self.unread()!r}, which starts with none of {words}")

    def _int(self, at: int) -> int | None:
        return INT.unpack_from(self._bytes, at)[0] if at + 4 <= self._end else None
