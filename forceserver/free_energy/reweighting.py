"""The free energy by reweighting: a histogram of COLVAR with weights exp((V - c(t)) / kT).

V is the bias that acted when the row was written, c(t) its reweighting factor (Tiwary, Parrinello 2015), together the
column `rbias`. Error bars come from blocks of the trajectory, weighted by their weight.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from ..analysis.blocks import number_of_blocks, transient
from ..bias.coordinates import without_jumps
from ..bias.grid import Axis
from ..errors import InputError
from ..frame import Array
from .colvar import Colvar
from .estimate import Estimate, Rows
from .segments import elapsed
from .surface import Surface


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
    """The variables as columns (n, k) without jumps."""
    return without_jumps([colvar.variable(name) for name in names], [colvar.column(name) for name in names])
