"""What the processes of a simulation say in their logs."""

import os
from pathlib import Path


class Said:
    """What a process writes to its log from now on; to be closed.

    The file stays open, so that nothing is missed if a user removes, renames or empties it in the meantime.
    """

    LAST_BYTES, LONGEST_LINE = 1 << 16, 1000

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115 - closed by `close`
        self._begin = self._length = self._size()
        self._found: dict[str, int] = {}

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def has(self, words: str) -> bool:
        """Whether it said `words` (within a line); reads only what is new since the last call."""
        self._begin_again_if_emptied()
        seen = self._found.get(words, self._begin)
        if seen < 0:
            return True
        if self._length <= seen:
            return False
        text = self._read(max(self._begin, seen - len(words)))
        self._found[words] = -1 if words.encode() in text else max(self._begin, seen - len(words)) + len(text)
        return self._found[words] < 0

    def last_lines(self, count: int) -> str:
        """The end of the log, without the end of long lines (the random numbers of a state)."""
        self._begin_again_if_emptied()
        text = self._read(max(self._begin, self._length - self.LAST_BYTES))
        lines = text.decode(errors="replace").rstrip().splitlines()[-count:]
        return "\n".join(line[: self.LONGEST_LINE] for line in lines)

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _begin_again_if_emptied(self) -> None:
        before, self._length = self._length, self._size()
        if self._length < before:
            self._begin = 0
            self._found = {words: seen for words, seen in self._found.items() if seen < 0}

    def _read(self, begin: int) -> bytes:
        self._file.seek(begin)
        return self._file.read()


def last_line(path: Path) -> str:
    """The last non-empty line of a log."""
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return "(its log is gone)"
    return lines[-1] if lines else "(its log is empty)"
