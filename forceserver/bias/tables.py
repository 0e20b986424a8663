"""PLUMED's text tables (HILLS, COLVAR, fes.dat).

A header `#! FIELDS a b c` names the columns, `#! SET key value` gives constants; a program that continues a file may
repeat the header. Whoever reads a file that is still being written, or whose writer was killed, finds an incomplete
last line: only lines that end in a newline count.
"""

import codecs
import logging
import math
import re
from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..frame import Array
from .coordinates import Coordinate, parse_number

log = logging.getLogger(__name__)

TAIL = 256
"""Bytes by which a file is recognised: a few lines."""

LONGEST_HEADER = 100
"""Lines."""

GZIP = b"\x1f\x8b"
"""How a file of gzip begins; PLUMED writes them for names that end in .gz."""

_MEANING = re.compile("(min|max)_.*|kerneltype|multivariate|(lower|upper)_int|biasfactor|kernel_cutoff")
"""Constants that say what the numbers of every row mean; others (those of states) may change within a file."""

_REMARK = re.compile(r"# energies in (\S+), temperature (\d\S*) K|#! SET temperature (\d\S*)")


class Remark(NamedTuple):
    """What the header of our files says where PLUMED's says nothing; None: nothing.

    energy_unit: of all energies in the file. temperature: of the bias, K.
    """

    energy_unit: str | None = None
    temperature: float | None = None

    @property
    def line(self) -> str:
        """The comment, which PLUMED skips (an unknown constant would be an error)."""
        return f"# energies in {self.energy_unit}, temperature {self.temperature:.12g} K\n"


def read_remark(path: Path) -> Remark:
    """The remark in the header of a file; that of one that cannot be read is empty: whoever reads it will say so."""
    try:
        with open(path, errors="replace") as file:
            head = takewhile(lambda line: line.startswith("#"), islice(file, LONGEST_HEADER))
            return next(filter(None, map(_remark, head)), Remark())
    except OSError:
        return Remark()


def _remark(line: str) -> Remark | None:
    match = _REMARK.fullmatch(line.strip())
    return Remark(match[1], float(match[2] or match[3])) if match else None


def _same(first: str, second: str) -> bool:
    """Whether two constants are, which may be numbers in other words: pi, 3.14159265358979."""
    try:
        return first == second or math.isclose(parse_number(first), parse_number(second), rel_tol=1e-9)
    except ValueError:
        return False


class FieldsReader:
    """Reads the complete lines of a table, and later those that have been added since.

    fields: names of the columns. constants: SET lines, as text. remark: what else the header says. offset: bytes of
    complete lines read so far.

    After an error nothing has been read: `offset` and the rest are what they were.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.fields: list[str] = []
        self.constants: dict[str, str] = {}
        self.remark = Remark()
        self.offset = 0
        self._line = 0
        self._tail = b""  # the last bytes that have been read

    def read(self) -> Array:
        """The new rows, (n, number of fields). `InputError` names file and line if one of them is malformed."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset - len(self._tail))
                tail, data = file.read(len(self._tail)), file.read()
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error
        if tail != self._tail:
            raise InputError(
                f"{self.path} was replaced, cut or changed while it was read; start again to read it from its beginning"
            )
        complete = data[: data.rfind(b"\n") + 1]
        before = self.place
        try:
            rows = self._rows(complete)
        except InputError:
            self.return_to(before)
            raise
        self.offset += len(complete)
        self._tail = (tail + complete)[-TAIL:]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.fields))

    @property
    def place(self) -> tuple:
        """How far the table has been read, for `return_to`."""
        return self.offset, self._tail, self._line, self.fields, dict(self.constants)

    def return_to(self, place: tuple) -> None:
        """Goes back, as if nothing had been read since."""
        self.offset, self._tail, self._line, self.fields, self.constants = place

    def _rows(self, complete: bytes) -> list[list[float]]:
        try:
            lines = complete.removeprefix(codecs.BOM_UTF8).decode().splitlines()
        except UnicodeDecodeError as error:
            why = "compressed: unpack it (gunzip)" if complete.startswith(GZIP) else "not a text file"
            raise InputError(f"{self.path} is {why}") from error
        rows = []
        for line in lines:
            self._line += 1
            if line.startswith("#!"):
                self._header(line.split()[1:])
            elif line.startswith("#"):
                self._remember(_remark(line))
            elif words := line.partition("#")[0].split():
                rows.append(self._row(words))
        return rows

    def incomplete(self) -> bytes:
        """What follows the complete lines that have been read."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read()

    def tell_of_incomplete(self) -> None:
        """Warns of an incomplete last line, for those who go on without it."""
        if tail := self.incomplete():
            log.warning("%s: the incomplete last line %r is left out", self.path, tail.decode(errors="replace"))

    def _header(self, words: list[str]) -> None:
        if words[:1] == ["FIELDS"]:
            if self.fields and words[1:] != self.fields:
                raise self._error(f"the columns change from {' '.join(self.fields)} to {' '.join(words[1:])}")
            self.fields = words[1:]
        elif words[:1] == ["SET"] and len(words) == 3:
            name, value = words[1:]
            before = self.constants.get(name, value)
            if _MEANING.fullmatch(name) and not _same(before, value):
                raise self._error(f"{name} changes from {before} to {value}: the rows before it mean something else")
            self.constants[name] = value

    def _remember(self, remark: Remark | None) -> None:
        before, after = self.remark.energy_unit, remark and remark.energy_unit
        if before and after and before != after:
            raise self._error(f"energies are in {after} from here, before in {before}")
        self.remark = remark or self.remark

    def _row(self, words: list[str]) -> list[float]:
        if not self.fields:
            raise self._error("there is no '#! FIELDS' line before the numbers; is this a PLUMED file?")
        if len(words) != len(self.fields):
            raise self._error(f"{len(words)} columns instead of {len(self.fields)} ({' '.join(self.fields)})")
        try:
            return [float(word) for word in words]
        except ValueError as error:
            raise self._error(str(error)) from error

    def _error(self, message: str) -> InputError:
        return InputError(f"{self.path}, line {self._line}: {message}")


def check_numbers(path: Path, noun: str, times: Array, columns: Array, sigmas: Array) -> None:
    """`InputError` if one of n deposits, numbers (n, columns), is not finite or has a width (n, d) of zero or less."""
    right = np.isfinite(columns).all(axis=1) & (sigmas > 0).all(axis=1)
    if not right.all():
        raise InputError(
            f"{path}: the {noun} at time {times[np.argmin(right)]:g} has a number that is not finite, or no width; "
            "correct its line"
        )


def check_variables(path: Path, found: Sequence[Coordinate], wanted: Sequence[Coordinate], remedy: str) -> None:
    """`InputError`, which ends with the remedy, unless a file is of the variables that are wanted."""
    if [v.name for v in found] != [v.name for v in wanted]:
        names, ours = (" ".join(v.name for v in which) for which in (found, wanted))
        raise InputError(f"{path} is a bias on {names}, the configuration has {ours}; {remedy}")
    for its, our in zip(found, wanted, strict=True):
        if its.domain != our.domain:
            raise InputError(f"{path}: the domain of {its.name} is {its.domain}, not {our.domain}; {remedy}")


def header(fields: list[str], constants: dict[str, str], remark: Remark | None = None) -> str:
    """The header lines of a table."""
    constant_lines = [f"#! SET {key} {text}\n" for key, text in constants.items()]
    return "".join([f"#! FIELDS {' '.join(fields)}\n", *constant_lines, remark.line if remark else ""])


def size_of_rows(path: Path, keep: Callable[[int, bytes], bool]) -> int:
    """Bytes of a table up to its first row that is not to be kept, given its number (from 0) and its line."""
    size, place = 0, 0
    with open(path, "rb") as file:
        for line in file:
            if not line.startswith(b"#") and line.strip():
                if not keep(place, line):
                    break
                place += 1
            size += len(line)
    return size
