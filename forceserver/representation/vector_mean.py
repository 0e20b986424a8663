"""The mean l = 1 coefficient of one radial function: a collective variable as cheap as a pair potential.

    s_m = sum_i w_i sum_j R_a(j)(r_ij) Y_1m(r_ij / r_ij),    m in x, y, z

over the centres i and their neighbours j of species a(j), with one (contracted) spline R_a for each species. The
conventions and the general form of the expansion are in `expansion`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _ext
from .neighbours import CLOSEST, NeighbourList
from .spline import SplineTable

_kernel = _ext.kernel("vector_mean")

Y1 = np.sqrt(3 / (4 * np.pi))
"""Y_1m of a unit vector u is Y1 u_m."""


@dataclass(frozen=True, eq=False, slots=True)
class VectorResult:
    """value: (3,), in the order x, y, z.
    gradient: (3, n_sites, 3), [m, k, b] = d s_m / d r_kb, for the atoms neighbours.site_atom; zero for all others.
    strain: (3, 3, 3), [m, a, b] = d s_m / d strain_ab, strain as in r -> r (1 + strain), positions and cell.

    The arrays belong to the `VectorMean` and are overwritten by its next call.
    """

    value: NDArray[np.float64]
    gradient: NDArray[np.float64]
    strain: NDArray[np.float64]


class VectorMean:
    """Computes `VectorResult` for one neighbour list.

    tables: for every neighbour species the spline with exactly one channel, of l = 1; all on one grid.
    neighbours: the list; its cutoff must be at least that of the splines.
    weights: (n_centres,); 1 / n_centres by default.
    ValueError: a species of the list without a table, a table with other channels, different grids, or wrong weights.
    """

    def __init__(
        self,
        tables: Mapping[int, SplineTable],
        neighbours: NeighbourList,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self.neighbours = neighbours
        missing = sorted(set(neighbours.neighbour_species) - set(tables))
        if missing:
            raise ValueError(f"tables: missing for the neighbour species {missing}, given only for {sorted(tables)}")
        used = [tables[species] for species in neighbours.neighbour_species]
        for species, table in zip(neighbours.neighbour_species, used, strict=True):
            if table.channels != 1 or len(table.counts) < 2 or table.counts[1] != 1:
                raise ValueError(
                    f"tables[{species}]: must have one channel, of l = 1, but has {table.counts} for each l"
                )
            if (table.cutoff, table.step, table.n_intervals) != (used[0].cutoff, used[0].step, used[0].n_intervals):
                raise ValueError(
                    f"tables[{species}]: its grid differs from that of species {neighbours.neighbour_species[0]}"
                )
        if neighbours.cutoff < used[0].cutoff:
            raise ValueError(
                f"neighbours: their cutoff {neighbours.cutoff} must be at least that of the tables, {used[0].cutoff}"
            )
        n_centres = len(neighbours.centres)
        if weights is None:
            weights = np.full(n_centres, 1.0 / n_centres)
        elif weights.shape != (n_centres,) or not np.isfinite(weights).all():
            raise ValueError(f"weights: must be finite, of shape ({n_centres},), got shape {weights.shape}")
        self._weights = np.ascontiguousarray(weights, dtype=np.float64)

        rows = used[0].n_intervals + 1  # the last one is zero, for pairs in the skin
        self._table = np.zeros((len(used), rows, 4))
        for mine, table in zip(self._table, used, strict=True):
            mine[:-1] = Y1 * table.coefficients[:, :, 0]
        self._grid = used[0].cutoff, used[0].step, used[0].inverse_step
        self._is_centre = np.zeros(len(neighbours.site_atom), dtype=np.int8)
        self._is_centre[neighbours.centre_site] = 1
        self._partial = np.empty((_kernel.chunks(n_centres), 14))
        self._pair_gradient = np.empty((0, 6))
        n_sites = len(neighbours.site_atom)
        self._result = VectorResult(np.empty(3), np.empty((3, n_sites, 3)), np.empty((3, 3, 3)))

    def compute(self) -> VectorResult:
        """The value and its derivatives at the positions last given to the neighbour list.

        ValueError if a neighbour is closer than 1e-8 Angstrom to its centre.
        """
        neighbours, result = self.neighbours, self._result
        if len(self._pair_gradient) < len(neighbours):
            self._pair_gradient = np.empty((len(neighbours), 6))
        closest2 = _kernel.vector_mean(
            neighbours.packed, neighbours.image_vectors, neighbours.first, neighbours.pair_site, neighbours.pair_image,
            neighbours.centre_site, self._is_centre, neighbours.site_kind, self._weights,
            self._table, *self._grid, *neighbours.transposed(), self._pair_gradient, self._partial,
            result.value, result.gradient, result.strain,
        )  # fmt: skip
        if closest2 < CLOSEST**2:
            neighbours.raise_if_too_close()
        return result
