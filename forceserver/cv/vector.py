"""kind = "vector": the l = 1 (and l = 0) component of the density of neighbours, reduced over centres.

    s_m = sum_i w_i sum_n u_n c^i_n1m

over the centres i, with weights u_n over the radial functions; outputs are functions of s and of the same sum of the
l = 0 coefficients (`outputs`).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from ..frame import Array
from ..sections import Distinct
from .base import ActiveSites, Group, Kind, Name, Part
from .outputs import OUTPUTS, OutputFunction, OutputName, combine, projection
from .sums import GroupSum
from .weights import WeightsConfig, tables

IDENTITY = np.eye(3)
COMPONENTS: dict[str, OutputFunction] = {"x": OUTPUTS["x"], "y": OUTPUTS["y"], "z": OUTPUTS["z"]}


class VectorConfig(WeightsConfig):
    """Section [[cv]], kind = "vector": an l = 1 (and l = 0) component of the density of neighbours around centres."""

    kind: Literal["vector"] = "vector"
    reduction: Literal["mean", "sum"] = "mean"
    outputs: Annotated[tuple[OutputName, ...], Distinct] = ("x", "y", "z")
    axes: dict[Name, tuple[float, float, float]] = Field(
        default={}, description="further outputs: projections of the vector onto these directions"
    )

    @field_validator("axes")
    @classmethod
    def _directions(cls, axes: dict) -> dict:
        for name, axis in axes.items():
            if not np.linalg.norm(axis) > 0:
                raise ValueError(f"axis {name!r} has no direction")
        return axes

    @model_validator(mode="after")
    def _consistent(self) -> "VectorConfig":
        if not (self.outputs or self.axes or self.per_centre):
            raise ValueError("outputs, axes and per_centre are all empty: nothing to compute")
        taken = [name for name in self.axes if name in OUTPUTS]
        if taken:
            raise ValueError(f"axes: {taken[0]!r} is the name of another output")
        return self

    def build(self, centres: Sequence[int], neighbours: Sequence[int]) -> "Vector":
        return Vector(self, neighbours)


class Vector(Kind):
    """The splines and the functions of the reduced density."""

    needs_neighbours = True
    centre_outputs = tuple(COMPONENTS)

    def __init__(self, config: VectorConfig, neighbours: Sequence[int]) -> None:
        functions: dict[str, OutputFunction] = {name: OUTPUTS[name] for name in config.outputs}
        self._functions = functions | {name: projection(axis) for name, axis in config.axes.items()}
        self.outputs = (*config.outputs, *config.axes)
        self._mean = config.reduction == "mean"
        self._vector, density = tables(config, neighbours)
        self._density = density if "density" in config.outputs else None

    def part(self, group: Group) -> "VectorPart":
        weight = 1.0 / len(group.centres) if self._mean and not group.alone else 1.0
        sums = GroupSum(group, weight, self._vector, self._density)
        return VectorPart(sums, COMPONENTS if group.alone else self._functions)


class VectorPart(Part):
    """Functions of the reduced density of one group."""

    def __init__(self, sums: GroupSum, functions: Mapping[str, OutputFunction]) -> None:
        self._sums = sums
        self._functions = list(functions.values())
        self._active = ActiveSites(sums.list)
        self.list = sums.list

    def atoms(self) -> NDArray[np.int32]:
        return self._active.atoms()

    def compute(self, positions: Array, cell: Array) -> tuple[Array, Array, Array]:
        b, gradient, strain = self._sums.compute(positions, cell)
        values, jacobian = combine(self._functions, b)
        jacobian = jacobian[:, : len(b)]
        sites = self._active.sites()
        if len(sites) < gradient.shape[1]:
            gradient = gradient[:, sites]
        if not np.array_equal(jacobian, IDENTITY):
            gradient, strain = (
                np.dot(jacobian, array.reshape(len(array), -1)).reshape(-1, *array.shape[1:])
                for array in (gradient, strain)
            )
        return values, gradient, strain
