"""The bias V(s, t) as one function of hills or kernels, walls, restraints and moving restraints. No files here.

Energies in eV, variables in their own units; the time of moving restraints is a number of steps.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ..errors import BiasError
from ..frame import Array
from .coordinates import Coordinate
from .growing import GrowingBias
from .restraints import MovingRestraint, Part, Restraint, Wall

P = TypeVar("P", bound=Part)

ColvarColumn = Callable[[Array, int, Sequence[float]], float]
"""A column of COLVAR: of the values, the step, and the work of each of the moving restraints."""


class TotalBias:
    """The sum of the parts on some variables; any of them may be absent.

    names: of the variables, in the order of the values.
    """

    def __init__(
        self,
        coordinates: Sequence[Coordinate],
        growing: GrowingBias | None = None,
        walls: Sequence[Wall] = (),
        restraints: Sequence[Restraint] = (),
        moving: Sequence[MovingRestraint] = (),
    ) -> None:
        self.coordinates = tuple(coordinates)
        self.names = tuple(coordinate.name for coordinate in coordinates)
        self._domains = [(k, *one.domain) for k, one in enumerate(self.coordinates) if one.domain]
        self.growing = growing
        places = [self.coordinates.index(coordinate) for coordinate in growing.coordinates] if growing else []
        self.biased = np.array(places, dtype=np.intp)
        """Indices of the values that have hills."""
        kinds: dict[str, Sequence[Part]] = {"walls": walls, "restraints": restraints, "moving": moving}
        self._kinds = {kind: self._placed(parts) for kind, parts in kinds.items()}
        self._parts = list(chain.from_iterable(self._kinds.values()))
        self._moving = self._placed(moving)
        self.terms = self._terms()
        """The columns of COLVAR by name."""
        self.costly = {f"{growing.name}.{name}" for name in growing.integrals()} if growing else set()
        """Columns too costly for every step."""
        self.pure_numbers = {f"{growing.name}.{name}" for name in growing.pure_numbers} if growing else set()
        """Columns that are not energies."""

    def evaluate(self, s: Array, step: int) -> tuple[float, Array]:
        """V (eV) and dV/ds (d,) at s (d,) and a step; `BiasError` if there is no bias at s."""
        energy, gradient = 0.0, np.zeros(len(s))
        if self.growing:
            energy, gradient[self.biased] = self.growing.evaluate(s[self.biased])
        for k, part in self._parts:
            e, g = part.evaluate(s[k], step)
            energy += e
            gradient[k] += g
        return float(energy), gradient

    def work(self, before: Sequence[float], s_before: Array, s: Array, step: int) -> list[float]:
        """The work of each moving restraint up to `step`, where the values are s; `before`, `s_before`: a step ago."""
        return [w + part.work(s_before[k], s[k], step) for w, (k, part) in zip(before, self._moving, strict=True)]

    def inside(self, values: ArrayLike) -> Array:
        """Values as float64 (d,), periodic ones folded into their domain; `BiasError` names one that is not finite."""
        s = np.ascontiguousarray(values, dtype=np.float64)
        if s.shape != (len(self.names),):
            names = ", ".join(self.names)
            raise BiasError(f"the bias has {len(self.names)} variable(s) ({names}) but got values of shape {s.shape}")
        numbers = s.tolist()
        if not all(map(math.isfinite, numbers)):
            name, value = next(pair for pair in zip(self.names, numbers, strict=True) if not math.isfinite(pair[1]))
            raise BiasError(f"collective variable {name} is {value}; look at the configuration that it comes from")
        for k, lower, upper in self._domains:
            if not lower <= numbers[k] < upper:
                s = s.copy()
                s[k] = lower + (numbers[k] - lower) % (upper - lower)
        return s

    def _placed(self, parts: Sequence[P]) -> list[tuple[int, P]]:
        return [(self.coordinates.index(part.coordinate), part) for part in parts]

    def _terms(self) -> dict[str, ColvarColumn]:
        terms: dict[str, ColvarColumn] = {}
        if growing := self.growing:

            def bias(s: Array, _step: int, _work: Sequence[float]) -> float:
                return growing.evaluate(s[self.biased])[0]

            terms[f"{growing.name}.bias"] = bias
            for name, integral in growing.integrals().items():
                terms[f"{growing.name}.{name}"] = partial(_integral, integral, bias)
        for kind, parts in self._kinds.items():
            if parts:
                terms[f"{kind}.bias"] = partial(_sum, parts)
        if self._moving:
            terms["moving.work"] = lambda s, step, work: sum(work)
        return terms


def _sum(parts: Sequence[tuple[int, Part]], s: Array, step: int, _: Sequence[float]) -> float:
    return sum(part.evaluate(s[k], step)[0] for k, part in parts)


def _integral(
    integral: Callable[[float], float], bias: ColvarColumn, s: Array, step: int, work: Sequence[float]
) -> float:
    return integral(bias(s, step, work))
