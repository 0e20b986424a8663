"""On-the-fly probability enhanced sampling: a bias from an estimate of the probability density. No files here.

    V(s) = (1 - 1/gamma) k_B T log(P(s) / Z + epsilon)
    P(s) = sum_i w_i G(s, s_i) / sum_i w_i,    w_i = exp(V(s_i) / k_B T)

(Invernizzi, Parrinello, J. Phys. Chem. Lett. 11, 2731 (2020)). P is compressed to few kernels as it grows
(cython_ext/kernel_density.pyx); Z is its mean over the centres of these, so over the region that has been explored. The
variant that explores (J. Chem. Theory Comput. 18, 3988 (2022)) has the density that is sampled in the place of P, all
w_i = 1, and the prefactor gamma - 1. Order and defaults are those of PLUMED's OPES_METAD and OPES_METAD_EXPLORE.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..._ext import kernel
from ...frame import Array
from ..coordinates import Coordinate
from ..tables import FieldsReader, Remark
from .kernels import Kernels, check_same, in_order_of_time, kernels_constants, kernels_fields, kernels_of
from .parameters import OpesParameters
from .widths import AdaptiveWidths, FixedWidths, shrinking


class Opes:
    """A density made of kernels, and what the next kernel is (`GrowingBias`).

    coordinates: those on which the kernels are put. widths: of the kernels.
    """

    name = "opes"
    noun = "kernels"
    remark: Remark | None = None
    pure_numbers = frozenset({"zed", "neff", "nker"})
    zed: float
    _norm: float

    def __init__(
        self, coordinates: Sequence[Coordinate], parameters: OpesParameters, widths: FixedWidths | AdaptiveWidths
    ) -> None:
        self.coordinates = tuple(coordinates)
        self.parameters = parameters
        self.widths = widths
        self.pace = parameters.pace
        self.memory_size = widths.memory_size
        self.fields = kernels_fields(coordinates)
        self.constants = kernels_constants(parameters, coordinates)
        self._kt, self._epsilon, self._explore = parameters.kt, parameters.epsilon, parameters.explore
        self._scale = self._kt * parameters.prefactor
        lower = [c.domain[0] if c.domain else 0.0 for c in coordinates]
        self.density = kernel("kernel_density").KernelDensity(
            [c.period for c in coordinates], lower, parameters.cutoff, parameters.threshold
        )
        self._clear()

    def reach(self, s: Array) -> None:
        """Does nothing: there is a bias everywhere."""

    def evaluate(self, s: Array) -> tuple[float, Array]:
        """V (eV) and its gradient (d,) at s (d,)."""
        gradient = np.empty(len(s))
        norm = self._norm * self.zed
        probability = self.density.evaluate(s, gradient) / norm + self._epsilon
        return self._scale * math.log(probability), gradient * (self._scale / (probability * norm))

    def observe(self, memory: Array, s: Array, step: int) -> Array:
        """What is remembered after the configuration `step`."""
        return self.widths.observe(self.recalled(memory, step - 1), s, self.has_kernels)

    def recalled(self, memory: Array, step: int) -> Array:
        """The memory of a step; if it was lost with the clock, what the kernels tell of it."""
        if isinstance(self.widths, AdaptiveWidths) and self._first and memory[0] == 0:
            return self.widths.recovered(step, *self._first, *self._last)
        return memory

    def deposit(self, s: Array, time_ps: float, memory: Array) -> list[float] | None:
        """The kernel that is due at s, as the numbers of a line of KERNELS; None while widths are still measured."""
        if (widths := self.widths.at(memory, self.has_kernels)) is None:
            return None
        log_weight = self.evaluate(s)[0] / self._kt
        weight = math.exp(log_weight)
        first, sigmas = widths
        size = self._size(self.counter + 1, self.sum_weights + weight, self.sum_weights2 + weight * weight)
        if self.parameters.shrinks:
            sigmas = sigmas * shrinking(size, len(s))
            if self.widths.least is not None:
                sigmas = np.maximum(sigmas, self.widths.least)
        height = (1.0 if self._explore else weight) * math.prod((first / sigmas).tolist())
        return [time_ps, *s, *sigmas, height, log_weight]

    def add(self, kernels: Kernels) -> None:
        """Adds kernels as they were written."""
        for place in range(len(kernels)):
            weight = math.exp(kernels.log_weights[place])
            pairs = self.zed * self._norm * self.density.count
            self.counter += 1
            self.sum_weights += weight
            self.sum_weights2 += weight * weight
            self._norm = self.counter if self._explore else self.sum_weights
            self.density.add(kernels.heights[place], kernels.centres[place], kernels.sigmas[place])
            self.zed = self.density.pair_sum(pairs) / self._norm / self.density.count
            self._remember(kernels.centres[place], kernels.sigmas[place])

    def replay(self, runs: Sequence[Kernels]) -> None:
        """Makes it the sum of these kernels, merged in the order of their times: which ones merge depends on that."""
        self._clear()
        self.add(in_order_of_time(runs))

    def _clear(self) -> None:
        """Back to no kernel at all."""
        self.density.clear()
        self.counter = 1
        """Kernels left behind, and one: what would be there if the bias had always been the lowest one."""
        self.sum_weights = self._epsilon**self.parameters.prefactor
        self.sum_weights2 = self.sum_weights**2
        self._norm = self.counter if self._explore else self.sum_weights
        self.zed = 1.0
        self._first: tuple[Array] | tuple[()] = ()
        self._last: tuple[Array, Array] | tuple[()] = ()

    @property
    def has_kernels(self) -> bool:
        return self.counter > 1

    @property
    def effective_size(self) -> float:
        """Effective size of the sample: (1 + sum w)^2 / (1 + sum w^2)."""
        return (1 + self.sum_weights) ** 2 / (1 + self.sum_weights2)

    def parse(self, table: FieldsReader, rows: Array) -> Kernels:
        """The kernels that rows of a KERNELS file are; `InputError` if it is none."""
        return kernels_of(table, rows)

    def check(self, path: Path, kernels: Kernels, is_own: bool) -> None:
        """`InputError` if they are not kernels of this bias."""
        check_same(path, kernels, self.coordinates, self.parameters)

    def integrals(self) -> dict[str, Callable[[float], float]]:
        """PLUMED's columns: k_B T log of the mean weight, Z, the effective size of the sample, the kernels left."""
        return {
            "rct": lambda _: self._kt * math.log(self.sum_weights / self.counter),
            "zed": lambda _: self.zed,
            "neff": lambda _: self.effective_size,
            "nker": lambda _: float(self.density.count),
        }

    def _size(self, counter: int, sum_weights: float, sum_weights2: float) -> float:
        """Size of the sample that determines the widths."""
        return counter if self._explore else (1 + sum_weights) ** 2 / (1 + sum_weights2)

    def _remember(self, centre: Array, sigmas: Array) -> None:
        """The first widths, and the last centre and widths, as they were before they shrank."""
        if self.parameters.shrinks:
            sigmas = sigmas / shrinking(self._size(self.counter, self.sum_weights, self.sum_weights2), len(sigmas))
        self._first, self._last = self._first or (sigmas,), (centre, sigmas)
