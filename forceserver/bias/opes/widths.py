"""The widths of the kernels of an OPES: given, or measured from how the variables fluctuate.

What is measured depends on every configuration, not only on those that leave kernels, so it is remembered in the
record of each step: `memory`, which is a function of the memory before and of the values.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ...errors import BiasError
from ...frame import Array
from ..coordinates import Coordinate

SMALLEST = 1e-6
"""PLUMED's smallest measured width, in units of the variable."""


class Widths(Protocol):
    """Where the widths come from."""

    memory_size: int
    least: Array | None
    """Below which no width (d,) decreases."""

    def observe(self, memory: Array, s: Array, has_kernels: bool) -> Array:
        """The memory after a configuration with values s (d,). has_kernels: whether there has been a kernel before."""

    def settled(self, memory: Array, has_kernels: bool) -> Array:
        """The memory, rescaled if the first kernel has come since it was made."""

    def at(self, memory: Array, has_kernels: bool) -> tuple[Array, Array] | None:
        """The widths of the first kernel and those of now (d,), before they shrink; None: not known yet."""


class FixedWidths:
    """sigmas: of the first kernel (d,). least: the smallest ones."""

    memory_size = 0

    def __init__(self, sigmas: Sequence[float], least: Sequence[float] | None = None) -> None:
        self._sigmas = np.array(sigmas, dtype=float)
        self.least = None if least is None else np.array(least, dtype=float)

    def observe(self, memory: Array, _s: Array, _has_kernels: bool) -> Array:
        return memory

    def settled(self, memory: Array, _has_kernels: bool) -> Array:
        return memory

    def at(self, _memory: Array, _has_kernels: bool) -> tuple[Array, Array]:
        return self._sigmas, self._sigmas


class AdaptiveWidths:
    """Standard deviations in the unbiased system, by Welford's algorithm about a mean that decays.

    stride: steps over which the mean decays, and before the first kernel. The memory is the number of configurations,
    the widths of the first kernel (0 before it), the mean, and the sum of squared deviations: (1 + 3d,).
    (Invernizzi, Parrinello, J. Chem. Theory Comput. 18, 3988 (2022).)
    """

    def __init__(
        self,
        coordinates: Sequence[Coordinate],
        stride: int,
        bias_factor: float,
        explore: bool,
        least: Sequence[float] | None = None,
    ) -> None:
        self._coordinates = tuple(coordinates)
        self._stride, self._bias_factor = stride, bias_factor
        self._divisor = 1.0 if explore else bias_factor
        self.least = None if least is None else np.array(least, dtype=float)
        self.memory_size = 1 + 3 * len(self._coordinates)

    def observe(self, memory: Array, s: Array, has_kernels: bool) -> Array:
        number, first, mean, squares = self.parts(self.settled(memory, has_kernels))
        number += 1
        before = self._difference(s, mean)
        mean = mean + before / min(number, self._stride)
        return np.array([number, *first, *mean, *(squares + before * self._difference(s, mean))])

    def settled(self, memory: Array, has_kernels: bool) -> Array:
        """Before the first kernel the fluctuations are those without a bias, from then on those with it."""
        number, first, mean, squares = self.parts(memory)
        if not has_kernels or first.any():
            return memory
        squares = squares * self._bias_factor
        return np.array([number, *self._floored(self._deviations(number, squares)), *mean, *squares])

    def at(self, memory: Array, has_kernels: bool) -> tuple[Array, Array] | None:
        """`BiasError` if a variable has not moved, so that there is no width for a first kernel."""
        number = memory[0]
        if number == 0 or (number < self._stride and not has_kernels):
            return None
        _, first, _, squares = self.parts(self.settled(memory, True))
        if self.least is None and not has_kernels and (still := np.flatnonzero(first <= SMALLEST)).size:
            name = self._coordinates[still[0]].name
            raise BiasError(
                f"{name} has not moved in {int(number)} steps (standard deviation {first[still[0]]:.2g}), so it gives "
                f"no width for a kernel; give sigma or sigma_min of {name}, or choose a variable that fluctuates"
            )
        return first, self._floored(self._deviations(number, squares), SMALLEST)

    def recovered(self, number: int, first: Array, centre: Array, deviations: Array) -> Array:
        """A memory from the kernels, where that of the clock is lost: the mean is the centre of the last of them."""
        return np.array([number, *first, *centre, *(deviations**2 * (number * self._divisor))])

    def parts(self, memory: Array) -> tuple[float, Array, Array, Array]:
        """Number of configurations, first widths (d,), mean (d,), squares (d,)."""
        d = len(self._coordinates)
        return float(memory[0]), memory[1 : 1 + d], memory[1 + d : 1 + 2 * d], memory[1 + 2 * d :]

    def _deviations(self, number: float, squares: Array) -> Array:
        return np.sqrt(squares / number / self._divisor)

    def _floored(self, sigmas: Array, least: float = 0.0) -> Array:
        return np.maximum(sigmas, least if self.least is None else self.least)

    def _difference(self, a: Array, b: Array) -> Array:
        return np.array([c.difference(x, y) for c, x, y in zip(self._coordinates, a.tolist(), b.tolist(), strict=True)])


def shrinking(size: float, dim: int) -> float:
    """Silverman's factor for a sample of `size` in `dim` dimensions."""
    return math.pow(size * (dim + 2) / 4, -1 / (4 + dim))
