"""HILLS files, as PLUMED's METAD writes and reads them.

The file is the truth: a hill is added to the bias as the numbers that its line holds, not as those that it was computed
from, so that replaying the file gives the same bits. Heights stand in the file in the file's energy unit and multiplied
by gamma / (gamma - 1), which makes the negative sum of the file the free energy; both are undone on reading.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import BiasError, InputError
from ..files import append
from ..forks import close_in_children, no_longer
from ..frame import Array
from .fields import FieldsReader, header, size_of_rows
from .history import lock, undo
from .variables import Variable, domain_constants, parse_number, shortest, variable_of

log = logging.getLogger(__name__)

KERNEL, PLAIN_KERNEL = "stretched-gaussian", "gaussian"
"""Hills of PLUMED since 2.8, and before."""


@dataclass(frozen=True)
class Hills:
    """n hills. times: (n,) ps. centres, sigmas: (n, d). heights: (n,) as in the file. bias_factors: (n,), -1: none.

    stretched: whether they go to zero where they end, as PLUMED's do since 2.8. interval: METAD's INTERVAL, beyond
    whose ends the bias is constant.
    """

    variables: tuple[Variable, ...]
    times: Array
    centres: Array
    sigmas: Array
    heights: Array
    bias_factors: Array
    stretched: bool = True
    interval: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.heights)

    def __getitem__(self, which: slice) -> "Hills":
        columns = ("times", "centres", "sigmas", "heights", "bias_factors")
        return replace(self, **{name: getattr(self, name)[which] for name in columns})


class HillsReader:
    """Reads hills, and later those that have been added since."""

    def __init__(self, path: Path, check: Callable[["Hills"], None] = lambda hills: None) -> None:
        """check: raises `InputError` for hills that are not wanted; like any other error it leaves them unread."""
        self.table = FieldsReader(path)
        self._check = check

    def read(self) -> Hills:
        """The hills that are new and complete; `InputError` if the file is no HILLS file or has other kernels."""
        before = self.table.place
        try:
            hills = self._hills(self.table.read())
            self._check(hills)
        except InputError:
            self.table.return_to(before)
            raise
        return hills

    def _hills(self, rows: Array) -> Hills:
        path, fields, constants = self.table.path, self.table.fields, self.table.constants
        names = [field.removeprefix("sigma_") for field in fields if field.startswith("sigma_")]
        if not rows.size and not fields:
            return _no_hills(())
        if constants.get("multivariate", "false") != "false":
            raise InputError(f"{path}: hills with a covariance (ADAPTIVE) are not supported; only SIGMA along the axes")
        if fields[: 2 * len(names) + 1] != ["time", *names, *(f"sigma_{name}" for name in names)] or not (
            names and {"height", "biasf"} <= set(fields)
        ):
            raise InputError(f"{path} is no HILLS file of METAD: its columns are {' '.join(fields)}")
        kernel = constants.get("kerneltype", KERNEL)
        if kernel not in (KERNEL, PLAIN_KERNEL):
            raise InputError(f"{path}: kernels are {kernel}; there are {KERNEL} (PLUMED 2.8) and {PLAIN_KERNEL}")
        ends = [parse_number(constants[name]) for name in ("lower_int", "upper_int") if name in constants]
        d = len(names)
        return Hills(
            tuple(variable_of(name, constants) for name in names),
            rows[:, 0],
            np.ascontiguousarray(rows[:, 1 : 1 + d]),
            np.ascontiguousarray(rows[:, 1 + d : 1 + 2 * d]),
            np.ascontiguousarray(rows[:, fields.index("height")]),
            np.ascontiguousarray(rows[:, fields.index("biasf")]),
            kernel == KERNEL,
            tuple(ends) if len(ends) == 2 else None,
        )


def _no_hills(variables: tuple[Variable, ...]) -> Hills:
    d = len(variables)
    return Hills(variables, np.empty(0), np.empty((0, d)), np.empty((0, d)), np.empty(0), np.empty(0))


def read_hills(path: Path) -> Hills:
    """All complete hills of a file; an incomplete last line is left out and reported."""
    reader = HillsReader(path)
    hills = reader.read()
    if tail := reader.table.incomplete():
        log.warning("%s: the incomplete last line %r is left out", path, tail.decode(errors="replace"))
    return hills


class HillsWriter:
    """Appends hills to a file, each of them durable when `append` returns.

    An existing file is continued: what it holds is in `existing`, and an incomplete last line is cut off and reported.
    `InputError` if it was made for other variables, widths or another bias factor, or if another process writes to it.
    """

    def __init__(
        self,
        path: Path,
        variables: Sequence[Variable],
        sigmas: Sequence[float],
        bias_factor: float | None,
        with_clock: bool = False,
    ) -> None:
        self.path = Path(path)
        self.variables = tuple(variables)
        self.sigmas = np.array(sigmas)
        self.bias_factor = -1.0 if bias_factor is None else bias_factor
        self.with_clock = with_clock  # PLUMED adds the wall clock to the hills of multiple walkers
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        close_in_children(self._file)
        try:
            lock(self._file, self.path)
            self.existing = self._continue()
            if os.fstat(self._file).st_size == 0:
                self._write(self._header())
                _sync_folder(self.path)
        except BaseException:
            self.close()
            raise

    def append(self, time_ps: float, centre: Array, height: float) -> Hills:
        """Writes a hill; returns what the file says now, a single hill. `BiasError` if it cannot be written."""
        numbers = [*centre, *self.sigmas, height, self.bias_factor]
        words = [f"{time_ps:.15g}", *map(shortest, numbers)]  # 15 digits: 350 steps of 0.002 ps are 0.7
        line = "".join(f" {word:>23}" for word in words)
        if self.with_clock:
            import time

            line += f" {int(time.time())}"
        self._write(line + "\n")
        written = np.array([float(word) for word in line.split()])
        d = len(self.variables)
        return Hills(
            self.variables,
            written[:1],
            written[None, 1 : 1 + d].copy(),
            written[None, 1 + d : 1 + 2 * d].copy(),
            written[1 + 2 * d : 2 + 2 * d],
            written[2 + 2 * d : 3 + 2 * d],
        )

    def cut(self, count: int) -> Hills:
        """Takes all hills but the first `count` out of the file, into one of its own; returns those that remain."""
        undo(self.path, size_of_rows(self.path, lambda place, _: place < count))
        return HillsReader(self.path).read()

    def close(self) -> None:
        no_longer(self._file)
        os.close(self._file)

    def _write(self, text: str) -> None:
        try:
            append(self._file, self.path, text.encode(), durable=True)
        except OSError as error:
            raise BiasError(f"cannot write to {self.path}: {error.strerror}; no hill was added") from error

    def _header(self) -> str:
        names = [variable.name for variable in self.variables]
        constants = {"multivariate": "false", "kerneltype": KERNEL, **domain_constants(self.variables)}
        fields = ["time", *names, *(f"sigma_{name}" for name in names), "height", "biasf"]
        return header(fields + ["clock"] * self.with_clock, constants)

    def _continue(self) -> Hills:
        reader = HillsReader(self.path)
        hills = reader.read()
        if tail := reader.table.incomplete():
            log.warning("%s: dropped the incomplete last line %r", self.path, tail.decode(errors="replace"))
            os.truncate(self.path, reader.table.offset)
        if not hills.variables:
            os.truncate(self.path, 0)
            return _no_hills(self.variables)
        check_same(self.path, hills, self.variables, self.bias_factor)
        if not np.allclose(hills.sigmas, self.sigmas, rtol=1e-9, atol=0):
            other = hills.sigmas[np.any(~np.isclose(hills.sigmas, self.sigmas, rtol=1e-9, atol=0), axis=1)][0]
            raise InputError(
                f"{self.path} has hills of width {other}, the configuration says {self.sigmas}; "
                "change sigma back, or move the file away to start a new bias"
            )
        return hills


def check_same(path: Path, hills: Hills, variables: Sequence[Variable], bias_factor: float) -> None:
    """`InputError` unless the hills were made for these variables and this bias factor."""
    remedy = "move the file away to start a new bias"
    if not hills.stretched or hills.interval:
        what = f"{PLAIN_KERNEL} kernels (PLUMED before 2.8)" if not hills.stretched else "an INTERVAL"
        raise InputError(f"{path} has {what}, which `forceserver fes` sums but the embedded bias has not; {remedy}")
    if [v.name for v in hills.variables] != [v.name for v in variables]:
        found, wanted = (" ".join(v.name for v in which) for which in (hills.variables, variables))
        raise InputError(f"{path} is a bias of {found}, the configuration wants {wanted}; {remedy}")
    for found, wanted in zip(hills.variables, variables, strict=True):
        if found.domain != wanted.domain:
            raise InputError(f"{path}: the domain of {found.name} is {found.domain}, not {wanted.domain}; {remedy}")
    if np.any(hills.bias_factors != bias_factor):
        other = hills.bias_factors[hills.bias_factors != bias_factor][0]
        raise InputError(f"{path} has the bias factor {other:g}, the configuration says {bias_factor:g}; {remedy}")


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
