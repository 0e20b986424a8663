"""Hills, as in the HILLS files of PLUMED's METAD.

Heights in a file are in its energy unit, and multiplied by gamma / (gamma - 1), so that their negative sum is the free
energy; both are undone when hills are added to a bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..frame import Array
from .coordinates import Coordinate, coordinate_of, domain_constants, ends_of
from .tables import FieldsReader, check_numbers, check_variables

KERNEL, PLAIN_KERNEL = "stretched-gaussian", "gaussian"
"""Hills of PLUMED since 2.8, and before."""


@dataclass(frozen=True)
class Hills:
    """n hills. times: (n,) ps. centres, sigmas: (n, d). heights: (n,) as in the file. bias_factors: (n,), -1: none.

    stretched: whether they go to zero where they end, as PLUMED's do since 2.8. interval: METAD's INTERVAL, beyond
    whose ends the bias is constant.
    """

    variables: tuple[Coordinate, ...]
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
        return Hills(
            self.variables,
            self.times[which],
            self.centres[which],
            self.sigmas[which],
            self.heights[which],
            self.bias_factors[which],
            self.stretched,
            self.interval,
        )


def hills_fields(coordinates: Sequence[Coordinate]) -> list[str]:
    """The columns of a HILLS file."""
    names = [coordinate.name for coordinate in coordinates]
    return ["time", *names, *(f"sigma_{name}" for name in names), "height", "biasf"]


def hills_constants(coordinates: Sequence[Coordinate]) -> dict[str, str]:
    """The other constants in its header."""
    return {"multivariate": "false", "kerneltype": KERNEL, **domain_constants(coordinates)}


def hills_of(table: FieldsReader, rows: Array) -> Hills:
    """The hills in the rows (n, columns) of a table; `InputError` if it is not a HILLS file or has other kernels."""
    if not rows.size and not table.fields:
        return Hills((), np.empty(0), np.empty((0, 0)), np.empty((0, 0)), np.empty(0), np.empty(0))
    columns = _columns(table.path, tuple(table.fields), tuple(table.constants.items()))
    d = len(columns.variables)
    check_numbers(table.path, "hill", rows[:, 0], rows, rows[:, 1 + d : 1 + 2 * d])
    return Hills(
        columns.variables,
        rows[:, 0],
        np.ascontiguousarray(rows[:, 1 : 1 + d]),
        np.ascontiguousarray(rows[:, 1 + d : 1 + 2 * d]),
        np.ascontiguousarray(rows[:, columns.height]),
        np.ascontiguousarray(rows[:, columns.bias_factor]),
        columns.stretched,
        columns.interval,
    )


class _Columns(NamedTuple):
    """What the header of a HILLS file says; indices of columns."""

    variables: tuple[Coordinate, ...]
    height: int
    bias_factor: int
    stretched: bool
    interval: tuple[float, float] | None


@lru_cache(maxsize=16)
def _columns(path: Path, fields: tuple[str, ...], header: tuple[tuple[str, str], ...]) -> _Columns:
    constants = dict(header)
    names = [field.removeprefix("sigma_") for field in fields if field.startswith("sigma_")]
    if constants.get("multivariate", "false") != "false":
        raise InputError(f"{path}: hills with a covariance (ADAPTIVE) are not supported; only SIGMA along the axes")
    if [*fields[: 2 * len(names) + 1]] != ["time", *names, *(f"sigma_{name}" for name in names)] or not (
        names and {"height", "biasf"} <= set(fields)
    ):
        raise InputError(f"{path} is not a HILLS file of METAD: its columns are {' '.join(fields)}")
    kernel = constants.get("kerneltype", KERNEL)
    if kernel not in (KERNEL, PLAIN_KERNEL):
        raise InputError(f"{path}: kernels are {kernel}; there are {KERNEL} (PLUMED 2.8) and {PLAIN_KERNEL}")
    return _Columns(
        tuple(coordinate_of(name, constants, path) for name in names),
        fields.index("height"),
        fields.index("biasf"),
        kernel == KERNEL,
        ends_of("lower_int", "upper_int", constants, path),
    )


def read_hills(path: Path) -> Hills:
    """All complete hills of a file; an incomplete last line is left out and reported."""
    table = FieldsReader(path)
    hills = hills_of(table, table.read())
    table.tell_of_incomplete()
    return hills


def check_same(path: Path, hills: Hills, variables: Sequence[Coordinate], bias_factor: float) -> None:
    """`InputError` unless the hills were made for these variables and this bias factor."""
    remedy = "move the file away to start a new bias"
    if not hills.stretched or hills.interval:
        what = f"{PLAIN_KERNEL} kernels (PLUMED before 2.8)" if not hills.stretched else "an INTERVAL"
        raise InputError(f"{path} has {what}, which `forceserver fes` can sum but the embedded bias cannot; {remedy}")
    check_variables(path, hills.variables, variables, remedy)
    if np.any(hills.bias_factors != bias_factor):
        other = hills.bias_factors[hills.bias_factors != bias_factor][0]
        raise InputError(f"{path} has the bias factor {other:g}, the configuration says {bias_factor:g}; {remedy}")
