"""Writes COLVAR files: CVs and bias with time, as PLUMED's PRINT does."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import BiasError, InputError
from ...files import append
from ..tables import Remark, header, size_of_rows
from .disk import open_file, undo
from .recent_steps import RecentSteps


class ColvarFile:
    """Rows with time; an existing file of the same columns is continued, `InputError` for other columns."""

    def __init__(
        self,
        path: Path,
        fields: Sequence[str],
        constants: Mapping[str, str],
        time_step_ps: float,
        remark: Remark | None = None,
    ) -> None:
        self.path = path
        self._time_step = time_step_ps
        self._file = open_file(path, os.O_WRONLY | os.O_APPEND)
        try:
            self._check([*fields])
            if os.fstat(self._file).st_size == 0:
                append(self._file, path, header([*fields], dict(constants), remark).encode())
        except BaseException:
            self.close()
            raise

    def append(self, row: Sequence[float]) -> None:
        """Writes a row, or raises `BiasError` and writes nothing if the disk refuses it."""
        try:
            append(self._file, self.path, ("".join(f" {number:.10g}" for number in row) + "\n").encode())
        except OSError as error:
            raise BiasError(f"cannot write to {self.path}: {error.strerror}; the step was not taken") from error

    def note(self) -> dict[str, Any]:
        return {}

    def restore(self, steps: RecentSteps) -> None:
        """Removes rows of later times: to a file of their own if the engine went back, or if the clock was lost."""
        last_time_ps = (steps.step + 0.5) * self._time_step
        lines = self._last_lines()
        rows = [line for line in lines if line.strip() and not line.startswith(b"#")]
        # the clock is set right after a row has been written: only one can be too late, unless the clock was lost
        late = sum(self._time(row) > last_time_ps for row in rows)
        if steps.is_going_back or late > 1:
            undo(self.path, size_of_rows(self.path, lambda _, line: self._time(line) <= last_time_ps))
        elif late:
            os.truncate(self.path, os.path.getsize(self.path) - len(lines[-1]))

    def close(self) -> None:
        os.close(self._file)

    def _time(self, line: bytes) -> float:
        try:
            return float(line.split()[0])
        except ValueError as error:
            raise InputError(
                f"{self.path} has the line {line.decode(errors='replace').strip()!r}, which is no row; take it out"
            ) from error

    def _check(self, fields: list[str]) -> None:
        """`InputError` if there are other columns; an incomplete header is written again."""
        with open(self.path, "rb") as file:
            head = file.readline().decode(errors="replace")
        if head.split() == ["#!", "FIELDS", *fields]:
            return
        if head.endswith("\n"):
            raise InputError(f"{self.path} has other columns ({head.strip()}); move it away, or name another file")
        os.truncate(self.path, 0)

    def _last_lines(self) -> list[bytes]:
        """The last two lines, or fewer; an incomplete one is cut off first."""
        with open(self.path, "rb+") as file:
            start = max(file.seek(0, os.SEEK_END) - 65536, 0)
            file.seek(start)
            block = file.read()
            end = block.rfind(b"\n") + 1
            file.truncate(start + end)
        return [line + b"\n" for line in block[:end].split(b"\n")[:-1][-2:]]
