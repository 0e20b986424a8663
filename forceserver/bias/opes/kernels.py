"""KERNELS, the file of the kernels that an OPES has left behind, as PLUMED's OPES_METAD writes it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...frame import Array
from ..coordinates import Coordinate, coordinate_of, domain_constants, shortest
from ..tables import FieldsReader, check_numbers, check_variables
from .parameters import OpesParameters


@dataclass(frozen=True)
class Kernels:
    """n kernels before any of them is merged. times: (n,) ps. centres, sigmas: (n, d). heights, log_weights: (n,).

    constants: what the header says of the bias that made them.
    """

    variables: tuple[Coordinate, ...]
    constants: Mapping[str, str]
    times: Array
    centres: Array
    sigmas: Array
    heights: Array
    log_weights: Array

    def __len__(self) -> int:
        return len(self.heights)

    def __getitem__(self, which: slice) -> "Kernels":
        columns = ("times", "centres", "sigmas", "heights", "log_weights")
        return replace(self, **{name: getattr(self, name)[which] for name in columns})


def kernels_fields(coordinates: Sequence[Coordinate]) -> list[str]:
    """The columns of a KERNELS file."""
    names = [coordinate.name for coordinate in coordinates]
    return ["time", *names, *(f"sigma_{name}" for name in names), "height", "logweight"]


def opes_constants(parameters: OpesParameters, kind: str) -> dict[str, str]:
    """What the header says of the bias. kind: of the file, "kernels" or "state"."""
    return {
        "action": f"{parameters.action}_{kind}",
        "biasfactor": shortest(parameters.bias_factor),
        "epsilon": shortest(parameters.epsilon),
        "kernel_cutoff": shortest(parameters.cutoff),
        "compression_threshold": shortest(parameters.threshold),
    }


def kernels_constants(parameters: OpesParameters, coordinates: Sequence[Coordinate]) -> dict[str, str]:
    """The header of KERNELS; the temperature, which PLUMED's has not, comes last."""
    domains = domain_constants(coordinates)
    return {**opes_constants(parameters, "kernels"), **domains, "temperature": shortest(parameters.temperature)}


def coordinates_of(table: FieldsReader) -> tuple[Coordinate, ...]:
    """The variables of a table of kernels, KERNELS or STATE: those that have widths."""
    return _coordinates(table.path, tuple(table.fields), tuple(table.constants.items()))


@lru_cache(maxsize=16)  # each kernel that is written is read as a table of one row
def _coordinates(path: Path, fields: tuple[str, ...], constants: tuple[tuple[str, str], ...]) -> tuple[Coordinate, ...]:
    names = [field.removeprefix("sigma_") for field in fields if field.startswith("sigma_")]
    return tuple(coordinate_of(name, dict(constants), path) for name in names)


def kernels_of(table: FieldsReader, rows: Array) -> Kernels:
    """The kernels that rows (n, columns) of a table are; `InputError` if it is no KERNELS file."""
    coordinates = coordinates_of(table)
    d = len(coordinates)
    if table.fields and table.fields[: 3 + 2 * d] != kernels_fields(coordinates):
        raise InputError(f"{table.path} is no KERNELS file of OPES: its columns are {' '.join(table.fields)}")
    rows = rows.reshape(len(rows), max(len(table.fields), 3))
    check_numbers(table.path, "kernel", rows[:, 0], rows, rows[:, 1 + d : 1 + 2 * d])
    return Kernels(
        coordinates,
        dict(table.constants),
        rows[:, 0],
        np.ascontiguousarray(rows[:, 1 : 1 + d]),
        np.ascontiguousarray(rows[:, 1 + d : 1 + 2 * d]),
        np.ascontiguousarray(rows[:, 1 + 2 * d]),
        np.ascontiguousarray(rows[:, 2 + 2 * d]),
    )


def in_order_of_time(runs: Sequence[Kernels]) -> Kernels:
    """The kernels of one run, or of several walkers, as they came; those of one file keep their order."""
    if len(runs) == 1:
        return runs[0]
    order = np.argsort(np.concatenate([kernels.times for kernels in runs]), kind="stable")
    return replace(
        runs[0],
        times=np.concatenate([kernels.times for kernels in runs])[order],
        centres=np.concatenate([kernels.centres for kernels in runs])[order],
        sigmas=np.concatenate([kernels.sigmas for kernels in runs])[order],
        heights=np.concatenate([kernels.heights for kernels in runs])[order],
        log_weights=np.concatenate([kernels.log_weights for kernels in runs])[order],
    )


def check_same(path: Path, kernels: Kernels, variables: Sequence[Coordinate], parameters: OpesParameters) -> None:
    """`InputError` unless the kernels were made for these variables by the same bias."""
    remedy = "change it back, or move the file away to start a new bias"
    check_variables(path, kernels.variables, variables, remedy)
    expected = kernels_constants(parameters, ())
    for name in ("action", "temperature", *expected):  # the others follow from the temperature
        found = kernels.constants.get(name)
        if found is not None and not _equal(found, expected[name]):
            raise InputError(f"{path} has the {name} {found}, the configuration gives {expected[name]}; {remedy}")


def _equal(found: str, expected: str) -> bool:
    """Whether two words say the same; numbers to six digits, for their files may be rounded."""
    try:
        return math.isclose(float(found), float(expected), rel_tol=1e-6)
    except ValueError:
        return found == expected
