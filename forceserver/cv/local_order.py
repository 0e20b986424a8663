"""Averages over the neighbours of a centre of what the neighbours have: the second shell of Steinhardt parameters.

The atoms whose vectors u (M, 2 l + 1) enter are the centres of a group and their partners, the centres nearby. A
partner counts by a switching function sigma_ij of the distance. An output is a function of all u and all sigma_ij.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy
from numpy.typing import NDArray

from ..frame import Array
from ..representation.neighbours import CLOSEST
from ..representation.spline import SplineTable
from .base import ActiveSites, Group
from .pairs import spread


@dataclass(frozen=True, eq=False)
class Order:
    """What outputs are made of.

    vectors: u (M, k) of all members. centres: (n,) the members that are averaged over.
    first, second, weights: (P,) for every pair the place among the centres, the member, and sigma_ij.
    """

    vectors: Array
    centres: NDArray
    first: NDArray = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    second: NDArray = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    weights: Array = field(default_factory=lambda: np.zeros(0))

    @cached_property
    def matrix(self) -> "scipy.sparse.csr_matrix":
        """sigma_ij as a matrix (n, M)."""
        shape = len(self.centres), len(self.vectors)
        return scipy.sparse.csr_matrix((self.weights, (self.first, self.second)), shape=shape)

    @cached_property
    def sums(self) -> Array:
        """sum_j sigma_ij (n, 1)."""
        sums = np.bincount(self.first, self.weights, len(self.centres))
        return sums[:, None].astype(np.float64)  # of no pair they are integers

    @cached_property
    def directions(self) -> tuple[Array, Array]:
        """u / |u| (M, k), zero where u is, and 1 / |u| (M, 1), or zero."""
        inverse = inverse_of(np.linalg.norm(self.vectors, axis=1))[:, None]
        return self.vectors * inverse, inverse


@dataclass(frozen=True, eq=False)
class OrderOutput:
    """A value with its derivatives with respect to u (M, k) and to sigma_ij (P,), None if it does not depend on it."""

    value: float
    by_vectors: Array
    by_weights: Array | None = None


def mean_norm(order: Order) -> OrderOutput:
    """1/n sum_i |u_i|."""
    derivative = np.zeros_like(order.vectors)
    centres = order.vectors[order.centres]
    norms = np.linalg.norm(centres, axis=1)
    derivative[order.centres] = centres * (inverse_of(norms) / len(norms))[:, None]
    return OrderOutput(float(norms.mean()), derivative)


def norm_of_mean(order: Order) -> OrderOutput:
    """|1/n sum_i u_i|; the derivative at zero is taken to be zero."""
    mean = order.vectors[order.centres].mean(axis=0)
    norm = float(np.linalg.norm(mean))
    derivative = np.zeros_like(order.vectors)
    if norm > 0:
        derivative[order.centres] = mean / (norm * len(order.centres))
    return OrderOutput(norm, derivative)


def mean_local(order: Order) -> OrderOutput:
    """1/n sum_i s_i, s_i = sum_j sigma_ij (u_i . u_j) / (|u_i| |u_j|) / sum_j sigma_ij: PLUMED's LOCAL_Q."""
    unit, inverse = order.directions
    mine, scale = unit[order.centres], inverse_of(order.sums)
    around = (order.matrix @ unit) * scale
    local = np.einsum("ik,ik->i", mine, around)
    n = len(local)
    by_unit = order.matrix.T @ (mine * (scale / n))
    by_unit[order.centres] += around / n
    pairs = np.einsum("pk,pk->p", mine[order.first], unit[order.second])
    by_weights = (pairs - local[order.first]) * scale[order.first, 0] / n
    along = np.einsum("mk,mk->m", by_unit, unit)[:, None]
    return OrderOutput(float(local.mean()), (by_unit - along * unit) * inverse, by_weights)


def mean_averaged(order: Order) -> OrderOutput:
    """1/n sum_i |(u_i + sum_j sigma_ij u_j) / (1 + sum_j sigma_ij)|: PLUMED's LOCAL_AVERAGE.

    Lechner and Dellago, J. Chem. Phys. 129, 114707 (2008), with smooth weights.
    """
    scale = 1 / (1 + order.sums)
    average = (order.vectors[order.centres] + order.matrix @ order.vectors) * scale
    norms = np.linalg.norm(average, axis=1)
    by_sum = average * (inverse_of(norms) / len(norms))[:, None] * scale
    by_vectors = order.matrix.T @ by_sum
    by_vectors[order.centres] += by_sum
    of_centre = np.einsum("ik,ik->i", by_sum, average)[order.first]
    by_weights = np.einsum("pk,pk->p", by_sum[order.first], order.vectors[order.second]) - of_centre
    return OrderOutput(float(norms.mean()), by_vectors, by_weights)


def inverse_of(array: Array) -> Array:
    """1 / x, and zero where x is."""
    return np.divide(1.0, array, out=np.zeros_like(array), where=array != 0)


class Partners:
    """The pairs of centres of a group and their partners; keeps their neighbour list.

    table: sigma, one channel of l = 0.
    """

    def __init__(self, group: Group, table: SplineTable) -> None:
        self.list = group.neighbour_list(table.cutoff, neighbours=group.all_centres)
        self._table = table
        self._active = ActiveSites(self.list)

    def update(self, positions: Array, cell: Array) -> bool:
        """Whether the list was built anew."""
        return self.list.update(positions, cell)

    def members(self) -> NDArray[np.int32]:
        """The centres and all partners that are listed, ascending."""
        return self._active.atoms()

    def order(self, vectors: Array, members: NDArray) -> Order:
        """What outputs are made of; vectors: of these members."""
        self._vectors = self.list.vectors()
        self._distances = np.sqrt(np.einsum("pk,pk->p", self._vectors, self._vectors))
        value, self._slope = (array[:, 0] for array in self._table.evaluate(self._distances))
        place = np.searchsorted(members, self.list.site_atom)
        return Order(
            vectors,
            np.searchsorted(members, self.list.centres),
            self.list.pair_centre,
            place[self.list.pair_site],
            value,
        )

    def gradient(self, by_weights: Array) -> tuple[NDArray[np.int32], Array, Array]:
        """The atoms, the gradient with respect to them, and the strain derivative, of the sigma_ij last given."""
        if len(self._distances) and self._distances.min() < CLOSEST:
            self.list.raise_if_too_close()
        pair_gradient = self._vectors * (by_weights * self._slope / self._distances)[:, None]
        gradient, strain = spread(self.list, self._vectors, pair_gradient)
        return self._active.atoms(), gradient[self._active.sites()], strain
