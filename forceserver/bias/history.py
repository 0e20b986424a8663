"""What a bias has seen: its last configurations, step by step, in a file that outlives the program.

Two things are read off it. A configuration that comes again (a reconnection, a restart of this program) is that of
the current step and does not tick the clock. If the first one of a connection came some steps ago, the engine has gone
back to a checkpoint, and the bias goes back with it (`undo` cuts its files). Later in a connection it is a new step: a
system may visit a configuration twice.

A configuration is recognised by its *marks*, four fixed random projections of positions and cell. They are compared
with a tolerance, since engines round positions in their checkpoints (i-PI: to nine digits, unless told otherwise).

The file is a ring of records that is mapped into memory. A record is written before the one word that makes it current,
so a process that is killed leaves the old state or the new one. It is not synchronised to disk at every step (hills
are); after a power failure a bias goes on from its last hill.
"""

import logging
import math
import mmap
import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import reserve
from ..forks import close_in_children, no_longer
from ..frame import Array, Frame
from ..locks import try_lock

log = logging.getLogger(__name__)

SPAN = 65536
"""Steps that are remembered."""

CLOSE = 3e-7
"""Configurations whose marks differ by less (Angstrom) are the same."""

_HEADER = 4096  # bytes; steps are kept in it as step + 1


@lru_cache(maxsize=4)
def _projections(coordinates: int) -> Array:
    return np.random.default_rng(1).standard_normal((4, coordinates)) / np.sqrt(coordinates)


def marks_of(frame: Frame) -> Array:
    """The marks (4,) of a configuration."""
    projections, n = _projections(frame.positions.size + 9), frame.positions.size
    return projections[:, :n] @ frame.positions.reshape(-1) + projections[:, n:] @ frame.cell.reshape(-1)


class History:
    """Records of the last `span` steps; `path` None: kept in memory.

    payload: fields of a record beside its step and marks, as for `numpy.dtype`. purpose: of whom the file is; another
    one in the file is an error.
    Raises `InputError` if the file is that of another bias or system, or if another process writes to it.
    """

    def __init__(self, path: Path | None, payload: list[tuple], purpose: str = "", span: int = SPAN) -> None:
        self.path = path
        record = np.dtype([("step", "i8"), ("marks", "f8", (4,)), *payload])
        header = np.dtype([("next", "i8"), ("return", "i8"), ("first", "i8"), ("note", "S2048"), ("purpose", "S2024")])
        size = _HEADER + span * record.itemsize
        text = f"{purpose} {record.descr} {span}".encode()
        self._file = None
        if path is None:
            buffer = bytearray(size)
        else:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                lock(self._file, path)
            except InputError:
                os.close(self._file)
                raise
            found = os.fstat(self._file).st_size
            if found >= _HEADER:
                before = np.frombuffer(os.pread(self._file, _HEADER, 0), header)["purpose"][0]
                if before not in (b"", text):
                    os.close(self._file)
                    raise InputError(f"{path} belongs to another bias or system; remove or rename it")
            if found < size:
                if found:
                    log.warning("%s is incomplete (a power failure?) and is begun anew", path)
                os.ftruncate(self._file, 0)
            try:
                reserve(self._file, size, path)
            except InputError:
                os.close(self._file)
                if not found:
                    path.unlink()
                raise
            close_in_children(self._file)
            buffer = _mapped(path)
        self._map = buffer
        self._header = np.frombuffer(buffer, header, 1)
        if not self._header["purpose"][0]:
            self._header["next"] = 0
            self._header["purpose"] = text
        self._ring = np.frombuffer(buffer, record, span, offset=_HEADER)
        self.step = int(self._header["next"][0]) - 1
        """Number of the current configuration, -1 before the first."""
        if self.step >= 0 and self._ring[self.step % span]["step"] != self.step:
            log.warning("%s is damaged (a power failure?); the clock goes on from the last hill", path)
            self._header["next"] = self._header["return"] = self._header["first"] = 0
            self.step = -1
        self._may_have_gone_back = True
        self._fields = {name: self._ring[name] for name in record.names}
        steps = range(max(self.step - span + 1, 0), self.step + 1)
        firsts = self._fields["marks"][np.array(steps, dtype=int) % span, 0]
        self._steps = {_cell(mark): step for mark, step in zip(firsts.tolist(), steps, strict=True)}

    @property
    def current(self) -> np.void:
        """The record of the current step, which must be one."""
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

    def record(self, step: int) -> np.void | None:
        """The record of a step, unless it is too long ago or has not been."""
        found = self._ring[step % len(self._ring)]
        return found if 0 <= step <= self.step and found["step"] == step else None

    def begin_connection(self) -> None:
        """The engine has connected again: the next configuration may be one that it has gone back to."""
        self._may_have_gone_back = True

    def recognise(self, marks: Array) -> int | None:
        """The step of the configuration with these marks: the current one; an older one only after a connection."""
        current, self._may_have_gone_back = not self._may_have_gone_back, False
        if current:
            return self.step if self._is_of(self.step, marks) else None
        return self._find(marks)

    def _is_of(self, step: int, marks: Array) -> bool:
        found = self.record(step)
        return found is not None and np.abs(found["marks"] - marks).max() < CLOSE

    def _find(self, marks: Array) -> int | None:
        """The last step whose configuration had these marks, of those of this run of the engine."""
        cell = _cell(float(marks[0]))
        for step in sorted((self._steps.get(cell + d, -1) for d in (-1, 0, 1)), reverse=True):
            if step < self._header["first"][0]:
                break
            if self._is_of(step, marks):
                return step
        return None

    def tick(self, step: int, marks: Array, **payload) -> None:
        """Makes `step` the current one."""
        place, fields = step % len(self._ring), self._fields
        old = _cell(float(fields["marks"][place, 0]))
        if self._steps.get(old, -1) == fields["step"][place]:
            del self._steps[old]
        fields["step"][place], fields["marks"][place] = step, marks
        for name, value in payload.items():
            fields[name][place] = value
        self._header["next"][0] = step + 1
        self.step = step
        self._steps[_cell(float(marks[0]))] = step

    def begin_run(self) -> None:
        """The engine has begun anew: what came before is no place to which it could go back."""
        self._header["first"] = self.step + 1

    @property
    def returning(self) -> int | None:
        """The step to which the bias is going back, -1 for the start, if it is: it may have been killed on its way."""
        step = int(self._header["return"][0]) - 2
        return step if step >= -1 else None

    def begin_return_before(self, step: int) -> bool:
        """The engine is at `step` again: the bias has to go back to the step before, or False if it has not to.

        Until `end_return`, every start has to go on with that. The first configuration of a run is no sign that the
        engine went back: it has begun a new run with the old bias.
        """
        if step == self._header["first"][0] and step < self.step:
            self.begin_run()
        elif step == 0 or self.record(step - 1) is not None:
            if step < self.step:
                log.warning("the engine went back to step %d, from %d; the bias goes back, too", step, self.step)
            self._header["return"] = step + 1
            return True
        return False

    def end_return(self) -> None:
        """The bias is back."""
        self.step = self.returning
        self._header["next"] = self.step + 1
        self._header["return"] = 0

    def close(self) -> None:
        self._header = self._ring = self._fields = None
        if self._file is not None:
            self._map.close()
            no_longer(self._file)
            os.close(self._file)
            self._file = None


def _mapped(path: Path) -> mmap.mmap:
    """The file in memory, opened anew: a map keeps a descriptor, and with that of the lock, children would keep it."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)


def _cell(first_mark: float) -> int:
    """Which cell of width `CLOSE` the first mark lies in: the key of the table of steps."""
    return round(first_mark / CLOSE) if math.isfinite(first_mark) else 0


def lock(file: int, path: Path) -> None:
    """One writer a file: a second server, or a second walker of the same number, would ruin it.

    `InputError` if another process has locked it.
    """
    try:
        free = try_lock(file)
    except OSError as error:  # some file systems have no locks
        log.warning("%s cannot be locked (%s): make sure that nothing else writes to it", path, error.strerror)
    else:
        if not free:
            raise InputError(f"another process writes to {path}; end it, or name another file")


def undo(path: Path, size: int) -> None:
    """Cuts a file to `size` bytes; what was behind is appended to the file of that name with the ending `.undone`."""
    with open(path, "rb+") as file:
        file.seek(size)
        behind = file.read()
        if not behind:
            return
        if any(line and not line.startswith(b"#") for line in behind.split(b"\n")):  # more than a header
            with open(f"{path}.undone", "ab") as undone:
                undone.write(behind)
                undone.flush()
                os.fsync(undone.fileno())
        file.truncate(size)
        os.fsync(file.fileno())
    log.info("%s: moved %d bytes of configurations that come again to %s.undone", path, len(behind), path)
