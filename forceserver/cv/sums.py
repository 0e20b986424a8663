"""The reduced density of one group of centres, with its derivatives.

b = (x, y, z, density): the weighted sums over the centres of their l = 1 coefficients, and of the l = 0 ones if
requested. The vector comes from the fused kernel; the density is summed pair by pair, a centre's own share included.
"""

from collections.abc import Mapping

import numpy as np

from ..frame import Array
from ..representation.spline import SplineTable
from ..representation.vector_mean import VectorMean
from .base import Group
from .pairs import spread

Y0 = np.sqrt(1 / (4 * np.pi))


class GroupSum:
    """The sums over one group of centres; keeps their neighbour list between calls.

    weight: of every centre.
    vector: for each species of neighbours the table with one channel, of l = 1, all on one grid. density: the same with
        one channel of l = 0, or None if it is not wanted.
    """

    def __init__(
        self,
        group: Group,
        weight: float,
        vector: Mapping[int, SplineTable],
        density: Mapping[int, SplineTable] | None,
    ) -> None:
        self.list = group.neighbour_list(next(iter(vector.values())).cutoff)
        self._vector = VectorMean(vector, self.list, np.full(len(group.centres), weight))
        self._weight = weight
        self._density = density
        self._own = group.species[np.intersect1d(group.centres, group.neighbours)]

    def compute(self, positions: Array, cell: Array) -> tuple[Array, Array, Array]:
        """b, its derivatives (components, n_sites, 3) with respect to the sites of the list, and to a strain.

        The components are x, y, z, and the density if there is a table for it. `ValueError`: what
        `NeighbourList.update` raises, and two atoms on one place.
        """
        self.list.update(positions, cell)
        vector = self._vector.compute()
        if self._density is None:
            return vector.value.copy(), vector.gradient.copy(), vector.strain.copy()
        scalar, scalar_gradient, scalar_strain = self._density_sum(self._density)
        return (
            np.append(vector.value, scalar),
            np.concatenate([vector.gradient, scalar_gradient[None]]),
            np.concatenate([vector.strain, scalar_strain[None]]),
        )

    def _density_sum(self, tables: Mapping[int, SplineTable]) -> tuple[float, Array, Array]:
        vectors = self.list.vectors()
        distance = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        value, slope = (Y0 * self._weight * array for array in self._radial(tables, distance))
        gradient, strain = spread(self.list, vectors, vectors * (slope / distance)[:, None])
        own = Y0 * self._weight * sum(tables[s].at_zero[0] for s in self._own.tolist())
        return value.sum() + own, gradient, strain

    def _radial(self, tables: Mapping[int, SplineTable], distance: Array) -> tuple[Array, Array]:
        """Values and derivatives for all pairs, each (n_pairs,), from the table of the neighbour's species."""
        value, slope = np.empty((2, len(distance)))
        kinds = self.list.site_kind[self.list.pair_site]
        for kind, species in enumerate(self.list.neighbour_species):
            mine = kinds == kind
            value[mine], slope[mine] = (array[:, 0] for array in tables[species].evaluate(distance[mine]))
        return value, slope
