"""How a neighbour counts by its distance, for kinds that need one radial function: the keys, and the splines of it.

Either a switching function, the same for every l, or a linear combination of the radial functions of a basis, by
weights or as the first function of a contraction.
"""

from collections.abc import Sequence

from pydantic import Field, model_validator

from ..elements import symbols
from ..errors import InputError
from ..representation.bases import AnyRadialBasis
from ..representation.config import selection
from ..representation.contraction_config import ContractionConfig
from ..representation.expansion import ExpansionBasis
from ..representation.spline import SplineTable, splined
from ..representation.switching import AnySwitchingFunction
from .base import VariableConfig


class RadialKeys(VariableConfig):
    """The keys of a section that say how a neighbour counts."""

    switch: AnySwitchingFunction | None = Field(default=None, description="a switching function; or else a basis")
    basis: AnyRadialBasis | None = Field(default=None, description="radial functions, with weights or a contraction")
    weights: tuple[float, ...] | None = Field(default=None, description="one for each radial function of the basis")
    contraction: ContractionConfig | None = Field(default=None, description="the first function of each l")

    @model_validator(mode="after")
    def _one_radial_function(self):
        if (self.switch is None) == (self.basis is None):
            raise ValueError("give either switch or basis, which say how a neighbour counts")
        if self.switch is not None and (self.weights is not None or self.contraction is not None):
            raise ValueError("weights and contraction belong to a basis, not to switch")
        if self.basis is None:
            return self
        if (self.weights is None) == (self.contraction is None):
            raise ValueError("give either weights or contraction, which say what is made of the radial functions")
        if self.weights is not None and len(self.weights) != self.basis.n_max:
            raise ValueError(f"weights must hold basis.n_max = {self.basis.n_max} numbers, got {len(self.weights)}")
        if self.weights is not None and not any(self.weights):
            raise ValueError("weights are all zero")
        if self.contraction is not None and self.contraction.file is None and self.contraction.structures is None:
            raise ValueError("contraction.structures or contraction.file is missing: a variable has no data of its own")
        return self

    def expansion(self, degrees: Sequence[int], neighbours: Sequence[int]) -> ExpansionBasis:
        """The expansion with one function of each of these l, summed over the species of neighbours.

        A centre does not count as its own neighbour. `InputError`: the basis has not these l, or the contraction does
        not fit.
        """
        try:
            tables = self._tables(degrees, neighbours)
        except (ValueError, InputError) as error:
            raise InputError(f"collective variable {self.name}: {error}") from error
        return ExpansionBasis(tables, sum_species=True, centre_contribution=False)

    def _tables(self, degrees: Sequence[int], neighbours: Sequence[int]) -> dict[int, SplineTable]:
        if self.switch is not None:
            counts = tuple(int(l in degrees) for l in range(max(degrees) + 1))
            return dict.fromkeys(neighbours, self.switch.table(counts, self.tolerance))
        basis = self.basis
        assert basis is not None
        if max(degrees) > basis.l_max:
            raise ValueError(f"l = {max(degrees)} is larger than basis.l_max = {basis.l_max}")
        table = splined(basis, self.tolerance)
        if self.weights is not None:
            for l in degrees:
                if any(self.weights[table.counts[l] :]):  # of `laplacian` there are fewer for larger l
                    raise ValueError(
                        f"weights: the basis has {table.counts[l]} functions of l = {l}, which leaves the last weights "
                        "without one; give these as 0, or a larger n_max with more weights"
                    )
            rows = [[self.weights[:count]] if l in degrees else [] for l, count in enumerate(table.counts)]
            return dict.fromkeys(neighbours, table.contract(_shaped(rows, table)))
        matrices = self._matrices(degrees, neighbours)
        return {
            s: table.contract(
                _shaped([m[l, :1, :n] if l in degrees else [] for l, n in enumerate(table.counts)], table)
            )
            for s, m in matrices.items()
        }

    def _matrices(self, degrees: Sequence[int], neighbours: Sequence[int]):
        assert self.basis is not None
        assert self.contraction is not None
        made = self.contraction.make(
            self.basis,
            [],
            neighbours,
            centres=selection(self.centres),
            neighbours=selection(self.neighbours),
            centre_contribution=False,
            tolerance=self.tolerance,
        )
        if len(neighbours) > 1 and not made.sum_species:
            raise ValueError(
                f"its neighbours are {symbols(neighbours)}, so that the contraction must be mixed: functions of each "
                "species alone have no common sign"
            )
        if min(made.counts[l] for l in degrees) < 1:
            raise ValueError(f"the contraction has no function for some of l = {list(degrees)}")
        return made.matrices


def _shaped(rows: Sequence, table: SplineTable):
    import numpy as np

    return [np.reshape(row, (-1, count)) for row, count in zip(rows, table.counts, strict=True)]
