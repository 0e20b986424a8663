"""The free energy as the negative sum of the hills: what `plumed sum_hills` computes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..bias.grid import REACH, Axis, HillGrid, HillSum
from ..bias.hills import Hills
from ..bias.metadynamics import reweighting_factor
from ..errors import InputError
from ..frame import Array
from .estimate import Estimate
from .segments import elapsed, in_order_of_time, segments
from .surface import Surface

MOST_VARIABLES = 3
INTERVAL_BINS = 200
"""How many intervals `plumed sum_hills` divides METAD's INTERVAL into."""
STATES, STATE_NODES = 40, 30_000_000
"""How many states of the bias are kept to see how it came about, and how many nodes they may have together."""


def merge_hills(parts: Sequence[Hills]) -> Hills:
    """The hills of several walkers in the order in which they came; `InputError` if they are not of one kind."""
    first = parts[0]
    for part in parts:
        if part.variables != first.variables:
            raise InputError("the HILLS files are of different variables")
        if (part.stretched, part.interval) != (first.stretched, first.interval):
            raise InputError("the HILLS files have different kernels or intervals")
    if not sum(len(part) for part in parts):
        raise InputError("there are no hills in the HILLS file(s)")
    if len(first.variables) > MOST_VARIABLES:
        names = ", ".join(variable.name for variable in first.variables)
        raise InputError(
            f"hills of {len(first.variables)} variables ({names}): at most {MOST_VARIABLES} are summed on a grid; "
            "reweight COLVAR instead: --colvar COLVAR --variables A,B with the two or three that matter"
        )
    columns = [
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("times", "centres", "sigmas", "heights", "bias_factors")
    ]
    _check_bias_factors(columns[-1])
    order = in_order_of_time([part.times for part in parts])
    times, centres, sigmas, heights, bias_factors = (column[order] for column in columns)
    return Hills(first.variables, times, centres, sigmas, heights, bias_factors, first.stretched, first.interval)


def _check_bias_factors(bias_factors: Array) -> None:
    """Heights in files are those of free energies, with which hills of other bias factors do not make one."""
    factors = np.unique(bias_factors)
    if len(factors) > 1:
        listed = " and ".join("none" if factor == -1 else f"{factor:g}" for factor in factors)
        raise InputError(
            f"there are hills of the bias factors {listed}: their sum is no free energy; give those of one, or "
            "reweight COLVAR alone (--colvar COLVAR --variables A,B)"
        )


def sum_hills_axes(hills: Hills) -> list[Axis]:
    """The grid that `plumed sum_hills` takes when it is not told one: all hills, ten intervals to where a hill ends.

    With METAD's INTERVAL it is the interval, since the bias is constant beyond it.
    """
    if hills.interval:
        lower, upper = (float(f"{end:.6g}") for end in hills.interval)
        return [Axis(lower, upper, INTERVAL_BINS)]
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
    clock, times, history = elapsed(hills.times), [], []
    states = int(np.clip(STATE_NODES // grid.values.size, 8, STATES))
    for number in _growing(grid, hills, _shares(len(hills), states)):
        surface = _surface(grid, hills)
        times.append(clock[number - 1])
        history.append(surface.probability(kt).astype(np.float32))
    late = np.array(history[len(history) // 2 :])
    return Estimate("sum of hills", surface, kt, late, np.ones(len(late)), False, np.array(times), np.array(history))


def sums_at_stride(hills: Hills, axes: Sequence[Axis], stride: int) -> Iterator[Surface]:
    """The free energies after every `stride` hills, and after all of them."""
    grid = HillGrid(hills.variables, axes)
    for _ in _growing(grid, hills, [*range(stride, len(hills), stride), len(hills)]):
        yield _surface(grid, hills)


def _shares(count: int, most: int) -> list[int]:
    """Ends of up to `most` shares of `count` hills that are as equal as can be."""
    return np.cumsum([len(part) for part in np.array_split(np.arange(count), min(most, count))]).tolist()


def _growing(grid: HillGrid, hills: Hills, numbers: Iterable[int], scale: float = 1.0) -> Iterator[int]:
    """Adds hills to the grid, their heights times `scale`, and yields whenever it has reached one of the counts."""
    done = 0
    for number in numbers:
        chunk = hills[done:number]
        grid.add(chunk.centres, chunk.sigmas, chunk.heights * scale, hills.stretched)
        yield (done := number)


def _acting(hills: Hills) -> float:
    """What heights in a file are to be multiplied by to make the bias that acts, instead of the free energy."""
    gamma = float(hills.bias_factors[0])
    return (gamma - 1) / gamma if gamma > 1 else 1.0


def negative_bias(surface: Surface, hills: Hills) -> Surface:
    """Minus the bias that acts, instead of the free energy that it stands for."""
    scale = _acting(hills)
    gradient = None if surface.gradient is None else scale * surface.gradient
    return replace(surface, values=scale * surface.values, gradient=gradient, errors=None)


def reweighting_factors(
    hills: Hills,
    axes: Sequence[Axis],
    kt: float,
    times: Array,
    runs: NDArray[np.int64] | None = None,
    states: int = 500,
) -> Array:
    """c(t) (n,), in the unit of the hills, when rows of these times (n,) in ps were written, from the hills alone.

    runs: (n,) the run that each row belongs to, by default what the times say.
    states: after how many numbers of hills it is computed; in between it is the last one.
    Raises `InputError` if hills and rows do not begin again equally often.
    """
    grid = HillGrid(hills.variables, axes)
    gamma = float(hills.bias_factors[0])
    numbers, factors = [0], [0.0]
    for number in _growing(grid, hills, _shares(len(hills), states), _acting(hills)):
        numbers.append(number)
        factors.append(reweighting_factor(grid.values, kt, gamma if gamma > 1 else None))
    return np.array(factors)[np.searchsorted(np.array(numbers), hills_before(hills, times, runs), "right") - 1]


def hills_before(hills: Hills, times: Array, runs: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """How many hills act on rows of these times: those of earlier times of the same run, and all of runs before it."""
    of_hills, of_rows = segments(hills.times), segments(times) if runs is None else runs
    if of_hills[-1] != of_rows[-1]:
        raise InputError(
            f"times begin again {of_hills[-1]} time(s) in HILLS and {of_rows[-1]} time(s) in COLVAR, so that c(t) of "
            "a row is not known; print METAD's rbias (CALC_RCT), or give the files of each run"
        )
    before = np.empty(len(times), dtype=np.int64)
    for number in range(of_rows[-1] + 1):
        rows = of_rows == number
        # the hill of a step acts after its row of COLVAR
        earlier = np.searchsorted(hills.times[of_hills == number], times[rows])
        before[rows] = np.searchsorted(of_hills, number) + earlier
    return before


def bias_of_hills(hills: Hills, before: NDArray[np.int64], values: Array) -> Array:
    """The bias (n,) at values (n, d) of the variables from the first `before` (n,) hills, which rises."""
    scale, bias, done = _acting(hills), HillSum(hills.variables), 0
    found = np.empty(len(values))
    for row, (number, s) in enumerate(zip(before.tolist(), values, strict=True)):
        new = hills[done:number]
        bias.add(new.centres, new.sigmas, new.heights * scale)
        found[row], done = bias.evaluate(s)[0], number
    return found


def _surface(grid: HillGrid, hills: Hills) -> Surface:
    nodes = tuple(grid.nodes(k) for k in range(len(hills.variables)))
    values, gradients = grid.values, grid.gradients
    if hills.interval:
        values, gradients = _constant_beyond(hills.interval, grid, nodes[0])
    free = np.where(values != 0, -values, np.inf)
    return Surface(hills.variables, nodes, free, gradient=-gradients, unvisited=-0.0)


def _constant_beyond(interval: tuple[float, float], grid: HillGrid, nodes: Array) -> tuple[Array, Array]:
    """The sum on the nodes and its gradient with METAD's INTERVAL, which is of one variable."""
    ends = np.clip(nodes, *interval)
    values = np.array([grid.evaluate(np.array([end]))[0] for end in ends])
    inside = (nodes > interval[0]) & (nodes < interval[1])
    return values, np.where(inside[:, None], grid.gradients, 0.0)
