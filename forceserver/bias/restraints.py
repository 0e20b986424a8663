"""Walls, restraints and moving restraints: PLUMED's UPPER_WALLS / LOWER_WALLS, RESTRAINT and MOVINGRESTRAINT.

Each is a function V(s, step) of one variable; energies in eV, s in the units of the variable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from .coordinates import Coordinate


class Part(Protocol):
    """What they have in common."""

    @property
    def coordinate(self) -> Coordinate:
        """The name of the variable it acts on."""

    def evaluate(self, s: float, step: int) -> tuple[float, float]:
        """V and dV/ds."""


@dataclass(frozen=True)
class Wall:
    """V = kappa ((s - at + offset) / epsilon)^exponent beyond at - offset (upper; mirrored for lower), 0 before it."""

    coordinate: Coordinate
    side: Literal["upper", "lower"]
    at: float
    kappa: float
    exponent: float = 2.0
    epsilon: float = 1.0
    offset: float = 0.0

    def evaluate(self, s: float, step: int = 0) -> tuple[float, float]:
        """V and dV/ds, at every step."""
        sign = 1.0 if self.side == "upper" else -1.0
        depth = (sign * self.coordinate.difference(s, self.at) + self.offset) / self.epsilon
        if depth <= 0:
            return 0.0, 0.0
        energy = self.kappa * depth**self.exponent
        return energy, sign * self.exponent * energy / (depth * self.epsilon)


@dataclass(frozen=True)
class Restraint:
    """V = kappa (s - at)^2 / 2 + slope (s - at)."""

    coordinate: Coordinate
    at: float
    kappa: float = 0.0
    slope: float = 0.0

    def evaluate(self, s: float, step: int = 0) -> tuple[float, float]:
        """V and dV/ds, at every step."""
        d = self.coordinate.difference(s, self.at)
        return 0.5 * self.kappa * d * d + self.slope * d, self.kappa * d + self.slope


@dataclass(frozen=True)
class MovingRestraint:
    """V = kappa(t) (s - at(t))^2 / 2, `at` and `kappa` linear between the given steps and constant outside.

    steps: increasing. at, kappa: one value per step. side: "both", or only where s is "above" / "below" the restraint.
    """

    coordinate: Coordinate
    steps: Sequence[int]
    at: Sequence[float]
    kappa: Sequence[float]
    side: Literal["both", "above", "below"] = "both"

    def evaluate(self, s: float, step: int) -> tuple[float, float]:
        """V and dV/ds at a step."""
        d, kappa = self._displacement(s, step), self.kappa_at(step)
        return 0.5 * kappa * d * d, kappa * d

    def work(self, s_old: float, s: float, step: int) -> float:
        """The work of the move from step - 1, where the variable was s_old, to step, where it is s (trapezoidal)."""
        d_old, d = self._displacement(s_old, step - 1), self._displacement(s, step)
        k_old, k = self.kappa_at(step - 1), self.kappa_at(step)
        moved = self.coordinate.difference(self.centre(step), self.centre(step - 1))
        return -0.5 * (k_old * d_old + k * d) * moved + 0.25 * (d_old * d_old + d * d) * (k - k_old)

    def kappa_at(self, step: int) -> float:
        return float(np.interp(step, self.steps, self.kappa))

    def centre(self, step: int) -> float:
        """Where the restraint is; a periodic variable goes the shorter way."""
        path = [self.at[0]]
        for here in self.at[1:]:
            path.append(path[-1] + self.coordinate.difference(here, path[-1]))
        return float(np.interp(step, self.steps, path))

    def _displacement(self, s: float, step: int) -> float:
        d = self.coordinate.difference(s, self.centre(step))
        inactive = (self.side == "above" and d < 0) or (self.side == "below" and d > 0)
        return 0.0 if inactive else d
