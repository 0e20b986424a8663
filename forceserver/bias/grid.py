"""Two ways to sum hills: on a grid, at a cost that does not grow with their number, or one by one.

On the grid every node keeps the sum of the hills and of their mixed first derivatives, and the bias between nodes is
the d-cubic Hermite interpolant of these. It has continuous forces, which are exactly its derivative; a hill changes
only the nodes in its support; its error falls with the fourth power of the spacing.
PLUMED's grid uses the same data but guesses the mixed derivatives from the first ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._ext import kernel
from ..errors import BiasError
from ..frame import Array
from ..memory import physical_memory
from .coordinates import Coordinate

_kernel = kernel("hills")


def why_too_large(nodes: Sequence[float]) -> str:
    """What is wrong with a grid of this many nodes along its axes; None if this machine can hold it."""
    needed, memory = 8.0 * 2 ** len(nodes) * math.prod(nodes), physical_memory()
    return f"it takes {needed / 1e9:.3g} GB, and this machine has {memory / 1e9:.3g} GB" if needed > memory else ""


REACH = np.sqrt(2 * _kernel.cutoff)
"""Where a hill ends, in units of its width."""


@dataclass(frozen=True)
class Axis:
    """Nodes lower + k spacing, `bins` intervals between lower and upper (the ends of the period if there is one)."""

    lower: float
    upper: float
    bins: int

    @property
    def spacing(self) -> float:
        return (self.upper - self.lower) / self.bins


class HillGrid:
    """The sum of hills on a grid. With `grow` it is extended when a value lies outside; otherwise that is an error."""

    def __init__(self, variables: Sequence[Coordinate], axes: Sequence[Axis], grow: bool = False) -> None:
        self.variables = tuple(variables)
        self.grow = grow
        self._period = np.array([variable.period for variable in variables])
        self._origin = np.array([axis.lower for axis in axes])
        self._spacing = np.array([axis.spacing for axis in axes])
        self._nodes = np.array(
            [axis.bins + (variable.domain is None) for axis, variable in zip(axes, variables, strict=True)]
        )
        self.clear()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._shape.tolist())

    @property
    def values(self) -> Array:
        """The sum on the nodes, an array of `shape`."""
        return self._table[:, 0].reshape(self.shape)

    @property
    def gradients(self) -> Array:
        """The gradient of the sum on the nodes, (*shape, d)."""
        d = len(self._shape)
        return self._table[:, [1 << (d - 1 - k) for k in range(d)]].reshape(*self.shape, d) / self._spacing

    def nodes(self, axis: int) -> Array:
        """The coordinates of the nodes along an axis."""
        return self._origin[axis] + self._spacing[axis] * (self._first[axis] + np.arange(self._shape[axis]))

    def clear(self) -> None:
        """Resets to a flat bias on the original grid."""
        self._first, self._shape = np.zeros_like(self._nodes), self._nodes
        self._hills: list[tuple[Array, Array, Array]] = []  # kept to fill a grid when it grows
        self._allocate()

    def add(self, centres: Array, sigmas: Array, heights: Array, stretched: bool = True) -> None:
        """Adds n hills: centres, sigmas (n, d), heights (n,); stretched: as PLUMED's are since 2.8."""
        if self.grow:
            self._hills.append((centres, sigmas, heights))
        _kernel.add(self._table, *self._layout, centres, sigmas, heights, stretched)

    def reach(self, s: Array) -> None:
        """Lets a grid grow to s (d,); `BiasError` that names the variable if s is off one that may not."""
        if self.grow:
            self._extend(s)
        else:
            self._check(s)

    def evaluate(self, s: Array) -> tuple[float, Array]:
        """Bias and gradient at s (d,), see `reach`."""
        self.reach(s)
        gradient = np.empty(len(s))
        return _kernel.interpolate(self._table, *self._layout, s, gradient), gradient

    @property
    def _layout(self) -> tuple[Array, ...]:
        return self._shape, self._first, self._origin, self._spacing, self._period

    def _allocate(self) -> None:
        self._table = np.zeros((np.prod(self._shape), 1 << len(self._shape)))
        self._lower = self._origin + self._spacing * self._first
        self._upper = self._lower + self._spacing * (self._shape - 1)

    def _check(self, s: Array) -> None:
        lower, upper = self._lower, self._upper
        for k, variable in enumerate(self.variables):
            if variable.domain is None and not lower[k] <= s[k] <= upper[k]:
                raise BiasError(
                    f"collective variable {variable.name} = {s[k]:g} has left the grid, "
                    f"[{lower[k]:g}, {upper[k]:g}]; widen the grid, let it grow, or keep the variable inside with walls"
                )

    def _extend(self, s: Array) -> None:
        """Adds a fifth of the range, or more if need be, on the sides where s is outside; fills the new grid."""
        below = np.where(self._period > 0, 0, np.ceil((self._lower - s) / self._spacing))
        above = np.where(self._period > 0, 0, np.ceil((s - self._upper) / self._spacing))
        if np.all(below <= 0) and np.all(above <= 0):
            return
        margin = self._shape // 5 + 1
        below, above = (np.where(n > 0, n + margin, 0) for n in (below, above))
        if wrong := why_too_large((self._shape + below + above).tolist()):
            reached = ", ".join(f"{v.name} = {x:g}" for v, x in zip(self.variables, s, strict=True))
            raise BiasError(f"the grid would have to grow to {reached}: {wrong}; keep the variables inside with walls")
        self._first = self._first - below.astype(int)
        self._shape = self._shape + below.astype(int) + above.astype(int)
        self._allocate()
        for hills in self._hills:
            _kernel.add(self._table, *self._layout, *hills)


class HillSum:
    """The sum of hills, one by one; exact, at a cost proportional to their number."""

    def __init__(self, variables: Sequence[Coordinate]) -> None:
        d = len(variables)
        self._period = np.array([variable.period for variable in variables])
        self.clear()
        self._centres, self._sigmas, self._heights = np.empty((64, d)), np.empty((64, d)), np.empty(64)

    def clear(self) -> None:
        """Resets to a flat bias."""
        self._n = 0

    def add(self, centres: Array, sigmas: Array, heights: Array) -> None:
        """Adds n hills: centres, sigmas (n, d), heights (n,)."""
        end = self._n + len(heights)
        while end > len(self._heights):
            self._centres = np.concatenate([self._centres, np.empty_like(self._centres)])
            self._sigmas = np.concatenate([self._sigmas, np.empty_like(self._sigmas)])
            self._heights = np.concatenate([self._heights, np.empty_like(self._heights)])
        self._centres[self._n : end], self._sigmas[self._n : end] = centres, sigmas
        self._heights[self._n : end] = heights
        self._n = end

    def reach(self, s: Array) -> None:
        """Does nothing: there is a bias everywhere."""

    def evaluate(self, s: Array) -> tuple[float, Array]:
        """Bias and gradient at s (d,)."""
        gradient, n = np.empty(len(s)), self._n
        hills = self._centres[:n], self._sigmas[:n], self._heights[:n]
        return _kernel.sum_direct(*hills, self._period, s, gradient), gradient
