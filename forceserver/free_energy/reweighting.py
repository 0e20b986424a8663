"""The free energy by reweighting: a histogram of COLVAR with weights exp((V - c(t)) / kT).

V is the bias that acted when the row was written, c(t) its reweighting factor (Tiwary, Parrinello 2015), together the
column `rbias`. Error bars come from blocks of the trajectory, weighted by their weight.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ..analysis.blocks import number_of_blocks, transient
from ..bias.coordinates import Coordinate, coordinate_of
from ..bias.grid import Axis
from ..bias.tables import FieldsReader
from ..errors import InputError
from ..files import check_distinct
from ..frame import Array
from .estimate import Estimate, Rows
from .segments import elapsed, in_order_of_time, segments
from .surface import Surface, index_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Colvar:
    """fields: names of the columns. rows: (n, number of fields). constants: of the header.

    runs: (n,) the number of the run that a row belongs to, from 0; None: all are of one.
    """

    path: Path | None
    fields: list[str]
    constants: dict[str, str]
    rows: Array
    runs: NDArray[np.int64] | None = None

    def column(self, name: str) -> Array:
        """A column (n,); `InputError` if a number of it is not finite."""
        values = self.rows[:, index_of(self.fields, name)]
        if not np.all(np.isfinite(values)):
            k = int(np.argmin(np.isfinite(values)))
            raise InputError(f"{self.path}: {name} is {values[k]} at time {self.rows[k, 0]:g}; take such rows out")
        return values

    def variable(self, name: str) -> Coordinate:
        return coordinate_of(name, self.constants)

    def bias_columns(self) -> list[str]:
        """Every `label.rbias`, and every `label.bias` of other labels."""
        shifted = [field for field in self.fields if field.endswith(".rbias")]
        labels = {field.removesuffix(".rbias") for field in shifted}
        return shifted + [f for f in self.fields if f.endswith(".bias") and f.removesuffix(".bias") not in labels]

    def shift_columns(self, biases: Sequence[str]) -> list[str]:
        """The columns of c(t) that are to be taken from these biases: `label.rct` of METAD.

        Not of OPES, whose bias hardly changes and whose `rct` is of another kind: it prints `label.zed`, `label.neff`
        and `label.nker`, too.
        """
        labels = [name.removesuffix(".bias") for name in biases if name.endswith(".bias")]
        return [f"{label}.rct" for label in labels if f"{label}.rct" in self.fields and not self._is_opes(label)]

    def moving(self, biases: Sequence[str]) -> list[str]:
        """The biases that print their work: a moving restraint has no equilibrium weights."""
        return [name for name in biases if name.endswith(".bias") and f"{name.removesuffix('bias')}work" in self.fields]

    def _is_opes(self, label: str) -> bool:
        return any(f"{label}.{name}" in self.fields for name in ("zed", "neff", "nker"))


def read_colvar(paths: Sequence[Path], skip_ps: float = 0.0, growing: bool = False) -> Colvar:
    """The rows of COLVAR files (of several walkers) in the order in which they came.

    skip_ps: what is left out at the beginning of each file; runs that follow each other in it count as one time.
    growing: whether somebody is still writing them, so that an incomplete last line is no news.
    """
    check_distinct(paths)
    tables = []
    for path in paths:
        reader = FieldsReader(path)
        rows = reader.read()
        if not reader.fields:
            raise InputError(f"{path} is empty")
        if not growing:
            reader.tell_of_incomplete()
        tables.append(_checked(Colvar(path, reader.fields, reader.constants, rows)))
        if reader.fields != tables[0].fields:
            raise InputError(f"{path} has other columns than {paths[0]}")
    of_files = [table.rows[:, 0] for table in tables if len(table.rows)]
    order = in_order_of_time(of_files) if of_files else np.empty(0, np.int64)
    if of_files:
        clock = np.concatenate([elapsed(times) for times in of_files])
        if skip_ps > 0 and clock.min() >= skip_ps:
            log.warning("%s begins at %g ps: nothing is earlier than %g ps", paths[0], clock.min(), skip_ps)
        order = order[clock[order] >= skip_ps]
    rows = np.concatenate([table.rows for table in tables])[order]
    if len(rows) < 2:
        raise InputError(f"{paths[0]} has {len(rows)} rows after {skip_ps:g} ps; nothing can be said from these")
    runs = np.concatenate([segments(times) for times in of_files])[order]
    return Colvar(paths[0], tables[0].fields, tables[0].constants, rows, runs)


def _checked(colvar: Colvar) -> Colvar:
    """A COLVAR file whose times are known; it is told where they begin again."""
    if colvar.fields[0] != "time":
        raise InputError(f"{colvar.path}: the first column is {colvar.fields[0]}, not time; is this a COLVAR file?")
    times = colvar.column("time")
    for k in np.flatnonzero(np.diff(times) < 0):
        log.warning(
            "%s: times go back from %g to %g: a run that followed, or one that was restarted and repeats what it had "
            "done; all rows count",
            colvar.path,
            times[k],
            times[k + 1],
        )
    return colvar


def histogram_axes(colvar: Colvar, names: Sequence[str], bins: Sequence[int]) -> list[Axis]:
    """A grid over all data."""
    axes = []
    for name, n in zip(names, bins, strict=True):
        domain = colvar.variable(name).domain
        s = colvar.column(name)
        if domain is None and s.min() == s.max():
            raise InputError(f"{colvar.path}: {name} is {s[0]:g} in all rows: it has no free energy")
        axes.append(Axis(*(domain or (float(s.min()), float(np.nextafter(s.max(), np.inf)))), n))
    return axes


def reweight(
    colvar: Colvar,
    names: Sequence[str],
    axes: Sequence[Axis],
    log_weights: Array,
    kt: float,
    blocks: int,
    smoothing: float = 0.0,
    has_errors: bool = True,
) -> Estimate:
    """F from the weighted histogram, in the unit of kT, its minimum at zero.

    log_weights: (n,) of the rows. smoothing: every row counts as a Gaussian of this width, in intervals of the grid.
    `InputError` if there are fewer rows than blocks.
    """
    if len(colvar.rows) < blocks:
        raise InputError(f"{len(colvar.rows)} rows cannot make {blocks} blocks; ask for fewer")
    s = np.stack([colvar.variable(name).wrapped(colvar.column(name)) for name in names], axis=1)
    edges = [np.linspace(axis.lower, axis.upper, axis.bins + 1) for axis in axes]
    weights = np.exp(log_weights - log_weights.max())
    parts = np.array_split(np.arange(len(s)), blocks)
    sums = np.array([np.histogramdd(s[part], bins=edges, weights=weights[part])[0] for part in parts])
    if smoothing > 0:
        modes = ["wrap" if colvar.variable(name).domain else "constant" for name in names]
        sums = np.array([gaussian_filter(part, smoothing, mode=modes, truncate=3) for part in sums])
    totals = sums.reshape(blocks, -1).sum(axis=1)
    if not np.all(totals > 0):
        raise InputError("a block has no data inside the grid; widen the range or ask for fewer blocks")
    cumulative = np.cumsum(sums, axis=0)
    history = cumulative / cumulative.reshape(blocks, -1).sum(axis=1).reshape(-1, *[1] * len(axes))
    with np.errstate(divide="ignore"):
        f = -kt * np.log(history[-1])
    nodes = tuple((edge[1:] + edge[:-1]) / 2 for edge in edges)
    surface = Surface(tuple(colvar.variable(name) for name in names), nodes, f - f.min())
    samples = sums / totals.reshape(-1, *[1] * len(axes))
    times = elapsed(colvar.rows[:, 0])[[part[-1] for part in parts]]
    inside = np.all([(edge[0] <= x) & (x <= edge[-1]) for edge, x in zip(edges, s.T, strict=True)], axis=0)
    numbers = np.repeat(np.arange(blocks), [len(part) for part in parts])[inside]
    rows = Rows(dict(zip(names, s[inside].T, strict=True)), weights[inside], numbers)
    return Estimate("reweighting", surface, kt, samples, totals, True, times, history, has_errors, rows=rows)


def blocks_of(colvar: Colvar, names: Sequence[str]) -> int:
    """Into how many independent blocks the rows may be cut, 0 if they remember for too long."""
    return number_of_blocks(_series(colvar, names))


def transient_of(colvar: Colvar, names: Sequence[str], log_weights: Array) -> float:
    """The time (ps, as `read_colvar` counts it) before which rows are best left out: see `blocks.transient`."""
    weights = np.exp(log_weights - log_weights.max())
    start = transient(_series(colvar, names), weights)
    return float(elapsed(colvar.rows[:, 0])[start]) if start else 0.0


def _series(colvar: Colvar, names: Sequence[str]) -> Array:
    """The variables as columns (n, k) without jumps: an angle as its cosine and sine."""
    series: list[Array] = []
    for name in names:
        s, domain = colvar.column(name), colvar.variable(name).domain
        if domain is None:
            series.append(s)
        else:
            angle = 2 * np.pi * s / (domain[1] - domain[0])
            series += [np.cos(angle), np.sin(angle)]
    return np.stack(series, axis=1)
