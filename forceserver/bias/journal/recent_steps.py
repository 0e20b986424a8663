"""The clock of a bias: a record of each of the last steps, in a file that outlives the program.

The clock counts configurations, not requests. A configuration that is repeated (a reconnection, a restart of this
program) is that of the current step. If the first one of a connection is from some steps ago, the engine has gone back
to a checkpoint. Later in a connection it is a new step: a system may visit a configuration twice.

The file is a ring of records that is mapped into memory. A record is written before the one word that makes it current,
so a process that is killed leaves the old state or the new one. It is not synchronised to disk at every step (deposits
are); after a power failure a bias resumes from its last deposit.
"""

import contextlib
import logging
import math
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...files import reserve
from ...forks import no_longer
from ...frame import Array
from .disk import mapped, open_locked
from .fingerprint import CLOSE, LENGTH, UNKNOWN

log = logging.getLogger(__name__)

SPAN = 65536
"""How many steps are remembered."""

_HEADER_BYTES = 4096
_HEADER = np.dtype([("next", "i8"), ("return", "i8"), ("first", "i8"), ("note", "S2048"), ("purpose", "S2024")])
"""next: of the current step, + 1. return: 0, or the step to which the bias is going back, + 2. first: of this run."""

_FINGERPRINT = "marks"
"""The field's name in the files, which contain their layout: existing files must stay readable."""


class RecentSteps:
    """Records of the last `span` steps; `path` None: kept in memory.

    step: the number of the current configuration; -1 before the first. While the bias goes back, the one it goes to.

    payload: fields of a record besides its step and fingerprint, as for `numpy.dtype`. purpose: whose file it is;
    a different one in the file is an error.
    Raises `InputError` if the file is that of another bias or system, or if another process writes to it.
    """

    def __init__(self, path: Path | None, payload: list[tuple], purpose: str = "", span: int = SPAN) -> None:
        self.path = path
        record = np.dtype([("step", "i8"), (_FINGERPRINT, "f8", (LENGTH,)), *payload])
        text = f"{purpose} {record.descr} {span}".encode()
        self._map, self._file = _open(path, _HEADER_BYTES + span * record.itemsize, text)
        self._header = np.frombuffer(self._map, _HEADER, 1)
        if not self._header["purpose"][0]:
            self._header["next"] = 0
            self._header["purpose"] = text
        self._ring = np.frombuffer(self._map, record, span, offset=_HEADER_BYTES)
        self.step = int(self._header["next"][0]) - 1
        if self.step >= 0 and self._ring[self.step % span]["step"] != self.step:
            log.warning("%s is damaged (a power failure?); the clock goes on from the last hill", path)
            self._header["next"] = self._header["return"] = self._header["first"] = 0
            self.step = -1
        if self.is_going_back:
            self.step = int(self._header["return"][0]) - 2
        self._may_have_gone_back = True
        self._fields: dict[str, NDArray] = {name: self._ring[name] for name in record.names or ()}
        steps = range(max(self.step - span + 1, 0), self.step + 1)
        firsts = self._fields[_FINGERPRINT][np.array(steps, dtype=int) % span, 0]
        self._steps = {_cell(first): step for first, step in zip(firsts.tolist(), steps, strict=True)}

    @property
    def current(self) -> Any:
        """The record of the current step, which must exist."""
        return self._ring[self.step % len(self._ring)]

    @property
    def note(self) -> str:
        """A text that is kept with the records."""
        return self._header["note"][0].decode()

    @note.setter
    def note(self, text: str) -> None:
        if len(text.encode()) > self._header["note"].itemsize:
            raise InputError(f"{self.path}: the names of the files of the bias are too long: {text}")
        self._header["note"] = text.encode()

    def record(self, step: int) -> Any:
        """The record of a step; None if the step has left the ring or has not happened."""
        found = self._ring[step % len(self._ring)]
        return found if 0 <= step <= self.step and found["step"] == step else None

    def begin_connection(self) -> None:
        """The engine has connected again: the next configuration may be one that it has gone back to."""
        self._may_have_gone_back = True

    def recognise(self, fingerprint: Array) -> int | None:
        """The step of the configuration with this fingerprint: the current one; an older one only after a connection.

        If there are several, the last one; only those of this run of the engine.
        """
        current, self._may_have_gone_back = not self._may_have_gone_back, False
        if current:
            return self.step if self._is_of(self.step, fingerprint) else None
        cell = _cell(float(fingerprint[0]))
        for step in sorted((self._steps.get(cell + d, -1) for d in (-1, 0, 1)), reverse=True):
            if step < self._header["first"][0]:
                break
            if self._is_of(step, fingerprint):
                return step
        return None

    def _is_of(self, step: int, fingerprint: Array) -> bool:
        found = self.record(step)
        return found is not None and np.abs(found[_FINGERPRINT] - fingerprint).max() < CLOSE

    def tick(self, step: int, fingerprint: Array, **payload: Any) -> None:
        """Makes `step` the current one."""
        place, fields = step % len(self._ring), self._fields
        old = _cell(float(fields[_FINGERPRINT][place, 0]))
        if self._steps.get(old, -1) == fields["step"][place]:
            del self._steps[old]
        fields["step"][place], fields[_FINGERPRINT][place] = step, fingerprint
        for name, value in payload.items():
            fields[name][place] = value
        self._header["next"][0] = step + 1
        self.step = step
        self._steps[_cell(float(fingerprint[0]))] = step

    def jump(self, step: int, **changes: Any) -> None:
        """Makes `step` the current one when only `changes` are known; the rest stays as it was, zero at the start."""
        known = {name: field[self.step % len(field)] for name, field in self._fields.items()}
        if self.step < 0:
            known = {name: np.zeros_like(value) for name, value in known.items()}
        for name in ("step", _FINGERPRINT):
            del known[name]
        self.tick(step, UNKNOWN, **{**known, **changes})

    def shape(self, name: str) -> tuple[int, ...]:
        """The type of a field of a record."""
        return self._fields[name].shape[1:]

    def begin_run(self) -> None:
        """To be called when the engine starts afresh: it cannot go back to what came before."""
        self._header["first"] = self.step + 1

    def go_back_before(self, step: int) -> bool:
        """Notes that the engine is at `step` again: True if the clock goes back to the step before.

        From then on every start has to bring the files there, until `settle` says that they are. The first
        configuration of a run is no sign that the engine went back: it has begun a new run with the old bias.
        """
        if step == self._header["first"][0] and step < self.step:
            self.begin_run()
        elif step == 0 or self.record(step - 1) is not None:
            if step < self.step:
                log.warning("the engine went back to step %d, from %d; the bias goes back, too", step, self.step)
            self._header["return"] = step + 1
            self.step = step - 1
            return True
        return False

    @property
    def is_going_back(self) -> bool:
        """Whether files may still contain what came after the current step, for example after a kill."""
        return bool(self._header["return"][0])

    def settle(self) -> None:
        """Notes that the files are at the current step."""
        if self.is_going_back:
            self._header["next"] = self.step + 1
            self._header["return"] = 0

    def close(self) -> None:
        for view in ("_header", "_ring", "_fields"):  # a map cannot be closed while arrays are views of it
            self.__dict__.pop(view, None)
        if self._file is not None and isinstance(self._map, mmap.mmap):
            with contextlib.suppress(BufferError):  # an error that is being raised still has a view: closed with it
                self._map.close()
            no_longer(self._file)
            os.close(self._file)
            self._file = None


def last_step(path: Path) -> int:
    """The step to which a file of records has come, without opening it as a clock; -1 if there is none."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEADER.itemsize)
    except OSError:
        return -1
    if len(head) < _HEADER.itemsize:
        return -1
    header = np.frombuffer(head, _HEADER)[0]
    return int(header["return"]) - 2 if header["return"] else int(header["next"]) - 1


def _open(path: Path | None, size: int, purpose: bytes) -> tuple[mmap.mmap | bytearray, int | None]:
    """The bytes of the ring, and the descriptor of its file, which is locked; all room on the disk is taken."""
    if path is None:
        return bytearray(size), None
    file = open_locked(path, os.O_RDWR)
    found = os.fstat(file).st_size
    try:
        if found >= _HEADER_BYTES:
            before = np.frombuffer(os.pread(file, _HEADER_BYTES, 0), _HEADER)["purpose"][0]
            if before not in (b"", purpose):
                raise InputError(f"{path} belongs to another bias or system; remove or rename it")
        if found < size:
            if found:
                log.warning("%s is incomplete (a power failure?) and is started afresh", path)
            os.ftruncate(file, 0)
        reserve(file, size, path)
    except InputError:
        no_longer(file)
        os.close(file)
        if not found:
            path.unlink()
        raise
    return mapped(path), file


def _cell(first: float) -> int:
    """Which cell of width `CLOSE` the first number of a fingerprint lies in: the key of the table of steps."""
    return round(first / CLOSE) if math.isfinite(first) else 0
