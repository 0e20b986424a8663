"""A free energy by reweighting COLVAR files, with whatever the user leaves open found from the data."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..frame import Array
from .bias_files import BiasSum, Regrid
from .colvar import Colvar, read_colvar
from .estimate import Estimate
from .reweighting import blocks_of, histogram_axes, reweight, transient_of
from .summing import MOST_VARIABLES
from .weights import columns_to_reweight_by, named_columns

log = logging.getLogger(__name__)

MOST_KT = 100
"""More than a bias has to overcome anywhere (60 kcal/mol at 300 K)."""


@dataclass(frozen=True)
class ColvarRequest:
    """files: of one run or of its walkers. variables: columns; None: those of the bias.

    bias: columns that are the bias; None: found by their names. skip: ps to discard at the beginning; None: as many as
    make the effective sample largest. blocks: for the errors; None: from the correlation time. smooth: width of a row
    in grid intervals; None: by the number of variables.
    """

    files: Sequence[Path]
    variables: Sequence[str] | None = None
    bias: Sequence[str] | None = None
    skip: float | None = None
    blocks: int | None = None
    smooth: float | None = None


def estimate_from_colvar(
    request: ColvarRequest, summed: BiasSum | None, kt: float, regrid: Regrid
) -> tuple[Estimate, str]:
    """The free energy, and what it was reweighted by.

    Args:
        request: the files, and what is to be done with them.
        summed: the hills or kernels of the same run, if there are any.
        kt: in the unit of energy of the files.
        regrid: changes the axes.

    Raises:
        InputError: a column or file does not fit, or nothing says which columns are variables.
    """
    data = read_colvar(request.files, request.skip or 0.0)
    names = _names(request, summed, data)
    log_weights, said = _log_weights(data, summed, request.bias, kt)
    if request.skip is None and (start := transient_of(data, names, log_weights)) > 0:
        data = read_colvar(request.files, start)
        log_weights, said = _log_weights(data, summed, request.bias, kt)
        said += f", without the first {start:.6g} ps (--skip)"
    _tell_of_span(data, log_weights)
    axes = histogram_axes(data, names, [50] * len(names) if len(names) < 3 else [30] * 3)
    axes = regrid(axes, [data.variable(name) for name in names])
    smooth = (0.0, 0.5, 1.0)[len(names) - 1] if request.smooth is None else request.smooth
    blocks = request.blocks or blocks_of(data, names)
    parts = blocks or min(10, len(data.rows))
    estimate = reweight(data, names, axes, log_weights, kt, parts, smooth, has_errors=blocks > 0)
    return estimate, f"{said}, {len(data.rows)} rows"


def _tell_of_span(data: Colvar, log_weights: Array) -> None:
    """A bias in another unit, or a temperature that is not in K, leaves all weight to a few rows."""
    if (span := float(np.ptp(log_weights))) > MOST_KT:
        log.warning(
            "%s: the bias spans %.0f kT: is it in --energy-unit, and --temperature in K?",
            data.path,
            span,
        )


def _names(request: ColvarRequest, summed: BiasSum | None, data: Colvar) -> list[str]:
    """The columns that are the variables."""
    if request.variables is not None:
        names = list(request.variables)
    elif summed is not None:
        names = [variable.name for variable in summed.variables]
    else:
        raise InputError(
            f"say which columns of {request.files[0]} are variables: --variables {','.join(data.fields[1:2])}"
        )
    if len(names) > MOST_VARIABLES:
        raise InputError(f"--variables {','.join(names)}: a free energy has at most {MOST_VARIABLES} variables")
    if len(set(names)) < len(names) or "time" in names:
        raise InputError(f"--variables {','.join(names)}: name different columns, and not the time")
    return names


def _log_weights(data: Colvar, summed: BiasSum | None, bias: Sequence[str] | None, kt: float) -> tuple[Array, str]:
    """log of the weight of each row, and what it is made of."""
    if bias:
        columns, shifts = named_columns(bias)
    else:
        columns, shifts = columns_to_reweight_by(data, summed.name if summed else None)
    log_weights = np.sum([data.column(name) for name in columns], axis=0) / kt
    for name in shifts:
        log_weights = log_weights - data.column(name) / kt
    said = " + ".join(columns) + "".join(f" - {name}" for name in shifts)
    if summed and not shifts and not any(name.endswith("rbias") for name in columns):
        factors = summed.reweighting_factors(data, None if bias else columns)
        if factors is not None:
            log_weights = log_weights - factors / kt
            said += " - c(t) of the hills"
    return log_weights, said
