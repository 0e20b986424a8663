"""kind = "coordination": the number of neighbours, reduced over centres.

    s = sum_i w_i sum_j sigma(r_ij)                       of a switching function sigma
    s = sum_i w_i sum_n u_n c^i_n00                       of the radial functions of a basis

A centre is not its own neighbour; its periodic images are. Without neighbours the value is zero. The sum over all pairs
of two groups is PLUMED's COORDINATION, the mean its COORDINATIONNUMBER.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from ..frame import Array
from ..representation.expansion import Y00, SphericalExpansion
from ..sections import Distinct
from .base import Group, Kind
from .radial import RadialKeys
from .reverse import ReversePart


class CoordinationConfig(RadialKeys):
    """Section [[cv]], kind = "coordination": the number of neighbours of centres."""

    kind: Literal["coordination"]
    reduction: Literal["mean", "sum"] = "mean"
    outputs: Annotated[tuple[Literal["number"], ...], Distinct] = ("number",)

    def build(self, centres: Sequence[int], neighbours: Sequence[int]) -> "Coordination":
        return Coordination(self, neighbours)


class Coordination(Kind):
    """The splines of l = 0."""

    centre_outputs = ("number",)

    def __init__(self, config: CoordinationConfig, neighbours: Sequence[int]) -> None:
        self.outputs = config.outputs
        self._mean = config.reduction == "mean"
        self._basis = config.expansion([0], neighbours)
        self._unit = 1.0 / Y00 if config.switch is not None else 1.0  # of sigma Y_00

    def part(self, group: Group) -> ReversePart:
        weight = self._unit / len(group.centres) if self._mean or group.alone else self._unit
        pairs = group.neighbour_list(self._basis.cutoff)
        derivative = np.zeros((len(group.centres), 1, self._basis.size))
        derivative[:, :, 0] = weight

        def number(coefficients: Array) -> tuple[Array, list[Array]]:
            return np.array([weight * coefficients[:, 0, 0].sum()]), [derivative]

        return ReversePart(pairs, SphericalExpansion(self._basis, pairs), number)
