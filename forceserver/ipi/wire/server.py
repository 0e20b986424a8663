"""The simulation engine's end of a connection."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.units import Bohr, Hartree

from ...frame import Array, Frame, Result
from .connection import Connection
from .extras import decode_extras
from .layout import in_segments
from .limits import Limits
from .messages import (
    CLIENT_MESSAGES,
    FORCEREADY,
    GETFORCE,
    HEADER_BYTES,
    INT,
    POSDATA,
    Buffers,
    pack_strings,
    write_init,
)


class ServerConnection(Connection):
    """The simulation engine's end of one connection.

    atoms, batch: the content of every POSDATA; `batch` > 1 is announced in INIT.
    shared_memory: `attach()` must be called with the six arrays before the first `positions()`.

    After FORCEREADY, `results` has one `Result` per structure.
    """

    _known = CLIENT_MESSAGES

    def __init__(self, atoms: int, batch: int = 1, limits: Limits = Limits(), shared_memory: bool = False) -> None:
        super().__init__(atoms, batch, limits, shared_memory)
        self.results: list[Result] = []
        self._trigger = b""
        self._cells_sent = [b""] * batch
        layout = self._layout
        if not shared_memory:
            outbox = np.zeros(layout.posdata_bytes + HEADER_BYTES, np.uint8)
            self._outbox = memoryview(outbox)
            self._outbox[:HEADER_BYTES] = POSDATA
            INT.pack_into(outbox, layout.posdata_count_at, atoms)
            self._outbox[-HEADER_BYTES:] = GETFORCE
            self._structures = layout.structures_in(outbox)
        self._reserve(max(4096, layout.forceready_bytes + 4 * batch))

    def _make_views(self) -> None:
        if not self._layout.shared_memory:
            self._numbers = self._layout.results_in(self._inbox)

    def attach(self, segments: Sequence[Array], names: Sequence[str]) -> None:
        """Attaches the six shared-memory arrays, and the names under which the client finds them."""
        self._structures, self._numbers = in_segments(segments)
        self._cells_sent = [b""] * self.batch
        self._trigger = pack_strings([name.encode() for name in names])

    def init(self, replica: int, parameters: str = " ") -> bytes:
        """INIT, with the batch size appended as i-PI does; the length is in bytes."""
        return write_init(replica, parameters, self.batch)

    def positions(self, frames: Sequence[Frame], getforce: bool = True) -> Buffers:
        """POSDATA for `batch` frames, followed by GETFORCE (i-PI's consolidated messages) unless told otherwise.

        The inverse of a singular cell is sent as zeros.
        """
        for index, frame in enumerate(frames):
            np.divide(frame.positions, Bohr, out=self._structures.positions[index])
            cell = frame.cell.tobytes()
            if cell != self._cells_sent[index]:
                self._write_cell(index, frame.cell)
                self._cells_sent[index] = cell
        if not self._layout.shared_memory:
            return [self._outbox if getforce else self._outbox[:-HEADER_BYTES]]
        message = POSDATA + INT.pack(self.atoms) + self._trigger + (GETFORCE if getforce else b"")
        self._trigger = b""
        return [message]

    def _write_cell(self, index: int, cell: Array) -> None:
        columns, inverse = self._structures.cells[index], self._structures.inverses[index]
        np.divide(cell.T, Bohr, out=columns)
        try:
            inverse[:] = np.linalg.inv(columns)
        except np.linalg.LinAlgError:
            inverse[:] = 0.0

    def next_message(self) -> bytes | None:
        """The next complete message of the client; `None` if more bytes are needed.

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
        if not self._layout.shared_memory:
            atoms = self._int(self._layout.forceready_count_at)
            if atoms is None:
                return None
            self._limits.check_atoms(atoms, self.atoms)
        taken = self._read_extras()
        if taken is None:
            return None
        extras, end = taken
        numbers = self._numbers
        self.results = [
            Result(float(energy) * Hartree, forces * (Hartree / Bohr), virial * Hartree, extra)
            for energy, forces, virial, extra in zip(
                numbers.energies, numbers.forces, numbers.virials, extras, strict=True
            )
        ]
        self._used(end)
        return FORCEREADY

    def _read_extras(self) -> tuple[list[dict[str, Any]], int] | None:
        """The extras of all structures, and where they end."""
        at, extras = self._layout.forceready_bytes, []
        for _ in range(self.batch):
            length = self._int(at)
            if length is None:
                return None
            self._limits.check_length(length, "extras")
            at += 4
            if self._end < at + length:
                self._reserve(at + length + 4 * self.batch)
                return None
            extras.append(decode_extras(bytes(self._bytes[at : at + length])))
            at += length
        return extras, at
