"""The free energy as the negative sum of the hills: what `plumed sum_hills` computes."""

from collections.abc import Sequence

import numpy as np

from ..bias.deposit import reweighting_factor
from ..bias.grid import REACH, Axis, HillGrid
from ..bias.hills import Hills
from ..errors import InputError
from ..frame import Array
from .estimate import Estimate
from .surface import Surface

STATES, STATE_NODES = 40, 30_000_000
"""How many states of the bias are kept to see how it came about, and how many nodes they may have together."""


def merge(parts: Sequence[Hills]) -> Hills:
    """The hills of several walkers, by time; `InputError` if they are not of one kind."""
    first = parts[0]
    for part in parts:
        if part.variables != first.variables:
            raise InputError("the HILLS files are of different variables")
    if not sum(len(part) for part in parts):
        raise InputError("there are no hills in the HILLS file(s)")
    columns = [
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("times", "centres", "sigmas", "heights", "bias_factors")
    ]
    order = np.argsort(columns[0], kind="stable")
    return Hills(first.variables, *(column[order] for column in columns))


def sum_hills_axes(hills: Hills) -> list[Axis]:
    """The grid that `plumed sum_hills` takes when it is not told one: all hills, ten intervals to where a hill ends."""
    axes = []
    for k, variable in enumerate(hills.variables):
        reach = REACH * hills.sigmas[:, k]
        lower, upper = (hills.centres[:, k] - reach).min(), (hills.centres[:, k] + reach).max()
        if variable.domain:
            lower, upper = max(lower, variable.domain[0]), min(upper, variable.domain[1])
        bins = int(np.ceil((upper - lower) / (reach.min() / 10)))
        # PLUMED hands the ends on as text of six digits
        axes.append(Axis(*(variable.domain or (float(f"{lower:.6g}"), float(f"{upper:.6g}"))), bins))
    return axes


def sum_hills(hills: Hills, axes: Sequence[Axis], kt: float) -> Estimate:
    """Minus the sum of the hills; the error is the spread of the free energy over the second half of the simulation."""
    grid = HillGrid(hills.variables, axes)
    times, history = [], []
    states = int(np.clip(STATE_NODES // grid.values.size, 8, STATES))
    for part in np.array_split(np.arange(len(hills)), min(states, len(hills))):
        chunk = hills[part[0] : part[-1] + 1]
        grid.add(chunk.centres, chunk.sigmas, chunk.heights)
        surface = _surface(grid, hills)
        times.append(chunk.times[-1])
        history.append(surface.probability(kt).astype(np.float32))
    late = np.array(history[len(history) // 2 :])
    return Estimate("sum of hills", surface, kt, late, np.ones(len(late)), False, np.array(times), np.array(history))


def reweighting_factors(hills: Hills, axes: Sequence[Axis], kt: float, states: int = 500) -> tuple[Array, Array]:
    """c(t) at up to `states` times (ps), in the unit of the hills, from the hills alone."""
    grid = HillGrid(hills.variables, axes)
    gamma = float(hills.bias_factors[0])
    tempered = gamma > 1
    times, factors = [-np.inf], [0.0]
    for part in np.array_split(np.arange(len(hills)), min(states, len(hills))):
        chunk = hills[part[0] : part[-1] + 1]
        grid.add(chunk.centres, chunk.sigmas, chunk.heights * ((gamma - 1) / gamma if tempered else 1.0))
        times.append(chunk.times[-1])
        factors.append(reweighting_factor(grid.values, kt, gamma if tempered else None))
    return np.array(times), np.array(factors)


def _surface(grid: HillGrid, hills: Hills) -> Surface:
    nodes = tuple(grid.nodes(k) for k in range(len(hills.variables)))
    free = np.where(grid.values != 0, -grid.values, np.inf)
    return Surface(hills.variables, nodes, free, gradient=-grid.gradients, unvisited=-0.0)
