"""Writes COLVAR files: CVs and bias with time, as PLUMED's PRINT does."""

import os
from pathlib import Path

from ..errors import BiasError, InputError
from ..files import append
from .fields import header, size_of_rows
from .history import undo


class ColvarWriter:
    """Appends rows; an existing file of the same columns is continued, rows after `last_time_ps` are cut off."""

    def __init__(self, path: Path, fields: list[str], constants: dict[str, str], last_time_ps: float) -> None:
        self.path = Path(path)
        if self.path.exists():
            self._cut(fields, last_time_ps)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if os.fstat(self._file).st_size == 0:
            append(self._file, self.path, header(fields, constants).encode())

    def append(self, row: list[float]) -> None:
        """Writes a row; `BiasError`, and nothing is written, if the disk does not take it."""
        try:
            append(self._file, self.path, ("".join(f" {number:.10g}" for number in row) + "\n").encode())
        except OSError as error:
            raise BiasError(f"cannot write to {self.path}: {error.strerror}; the step was not taken") from error

    def cut_after(self, time_ps: float) -> None:
        """Takes all later rows out of the file, into one of its own."""
        undo(self.path, size_of_rows(self.path, lambda _, line: float(line.split()[0]) <= time_ps))

    def close(self) -> None:
        os.close(self._file)

    def _cut(self, fields: list[str], last_time_ps: float) -> None:
        """Only the last line can be incomplete or too late: the clock is set right after a row has been written."""
        with open(self.path, "rb+") as file:
            head = file.readline().decode(errors="replace")
            if head.split() != ["#!", "FIELDS", *fields]:
                if not head.endswith("\n"):
                    file.truncate(0)
                    return
                raise InputError(f"{self.path} has other columns ({head.strip()}); move it away, or name another file")
            size = file.seek(0, os.SEEK_END)
            start = max(size - 65536, 0)
            file.seek(start)
            block = file.read()
            end = block.rfind(b"\n") + 1
            last = block.rfind(b"\n", 0, end - 1) + 1
            line = block[last:end]
            if not line.startswith(b"#") and float(line.split()[0]) > last_time_ps:
                end = last
            file.truncate(start + end)
