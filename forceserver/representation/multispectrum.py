"""Multispectra: products of density coefficients of increasing order, contracted after each product (NICE).

With A^1 the density coefficients of a centre, products of order nu couple order nu - 1 with order 1,

    A^{nu; s}_{k lambda mu} = sum_p U_{kp} sum_{m1 m2} C^{lambda mu}_{l1 m1 l2 m2} A^{nu-1; s1}_{q l1 m1} A^1_{n l2 m2}

over pairs p = (s1 l1 q, l2 n) of channels, with the Clebsch-Gordan coefficients of `couplings`, which are orthonormal,
and the parity s = s1 (-1)^(l1 + l2 + lambda): inversion multiplies A by s (-1)^lambda. U are principal components of
the products (`multispectrum_fit`). Components with lambda = 0 and s = 1 are invariant: order nu depends on nu
neighbours and the centre at a time; nu = 2 is the power spectrum and nu = 3 the bispectrum. All steps are bilinear.

Nigam, Pozdnyakov, Ceriotti, J. Chem. Phys. 153, 121101 (2020). Blocks of centres bound the memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..elements import symbols
from ..errors import InputError
from ..frame import Array
from .couplings import real_clebsch_gordan
from .expansion import ExpansionBasis, SphericalExpansion
from .neighbours import NeighbourList, check_array

ALL = 0
"""Stands for all species: components that the centres of all species share."""

BLOCK_BYTES = 1 << 26


class Irrep(NamedTuple):
    """How components transform: as harmonics of degree l under rotations, and by parity * (-1)^l under inversion."""

    l: int
    parity: int


INVARIANT = Irrep(0, 1)

Equivariants = dict[Irrep, Array]
"""(2 l + 1, centres, channels) of every irrep."""


@dataclass(frozen=True, eq=False)
class Coupled:
    """Products of P pairs of channels of two irreps, coupled to a third; first, second: (P,), the channels."""

    left: Irrep
    right: Irrep
    target: int
    first: NDArray[np.intp]
    second: NDArray[np.intp]

    @cached_property
    def _coupling(self) -> Array:
        """((2 l1 + 1) (2 l2 + 1), 2 lambda + 1)."""
        return real_clebsch_gordan(self.left.l, self.right.l, self.target).reshape(-1, 2 * self.target + 1)

    @property
    def floats(self) -> int:
        """Floats of work space for one centre."""
        return len(self._coupling) * len(self.first)

    def values(self, left: Array, right: Array) -> Array:
        """(2 lambda + 1, centres, P)."""
        outer = left[:, None, :, self.first] * right[None, :, :, self.second]
        return (self._coupling.T @ outer.reshape(len(self._coupling), -1)).reshape(-1, *outer.shape[2:])

    def pull_back(self, left: Array, right: Array, gradient: Array, to_left: Array, to_right: Array) -> None:
        """Propagates a gradient (2 lambda + 1, centres, P) to both factors, by adding to their gradients."""
        outer = (self._coupling @ gradient.reshape(len(gradient), -1)).reshape(
            len(left), len(right), *gradient.shape[1:]
        )
        of_left = np.einsum("abcp,bcp->acp", outer, right[..., self.second])
        of_right = np.einsum("abcp,acp->bcp", outer, left[..., self.first])
        to_left += of_left @ _places(self.first, to_left.shape[-1])
        to_right += of_right @ _places(self.second, to_right.shape[-1])


def _places(channels: NDArray[np.intp], number: int) -> Array:
    """A matrix (P, number) that sums pairs by channel; a matrix product is faster than scattering."""
    return (channels[:, None] == np.arange(number)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Components:
    """The channels of one irrep of one order: combinations of products.

    pairs: (P, 5) int32: l, parity and channel of the factor of the order before, l and channel of the density; products
        of the same degrees are consecutive. matrix: (P, K). variances: (P,), of all components, descending.
    """

    target: Irrep
    pairs: NDArray[np.int32]
    matrix: Array
    variances: Array

    @cached_property
    def coupled(self) -> tuple[tuple[Coupled, slice], ...]:
        """Products of the same degrees, and which rows of the matrix are theirs."""
        kinds = self.pairs[:, [0, 1, 3]]
        starts = np.flatnonzero((np.diff(kinds, axis=0, prepend=-1) != 0).any(axis=1)).tolist()
        found = []
        for start, end in zip(starts, [*starts[1:], len(kinds)], strict=True):
            l1, parity, l2 = kinds[start].tolist()
            q, n = self.pairs[start:end, 2], self.pairs[start:end, 4]
            coupled = Coupled(Irrep(l1, parity), Irrep(l2, 1), self.target.l, q.astype(np.intp), n.astype(np.intp))
            found.append((coupled, slice(start, end)))
        return tuple(found)

    def values(self, before: Equivariants, density: Equivariants) -> Array:
        """(2 l + 1, centres, K)."""
        parts = (c.values(before[c.left], density[c.right]) @ self.matrix[rows] for c, rows in self.coupled)
        return reduce(np.add, parts)

    def pull_back(
        self, before: Equivariants, density: Equivariants, gradient: Array, to_before: Equivariants, to_d: Equivariants
    ) -> None:
        """Propagates a gradient (2 l + 1, centres, K) to the factors, by adding to their gradients."""
        for c, rows in self.coupled:
            inner = gradient @ self.matrix[rows].T
            c.pull_back(before[c.left], density[c.right], inner, to_before[c.left], to_d[c.right])


Level = Mapping[Irrep, Components]
"""All irreps of one order."""


class Multispectrum:
    """Invariants, and equivariants, of all orders up to nu, of the coefficients of an expansion.

    expansion: that of the density. levels: species of centres, or `ALL` -> irreps of orders 2, 3, ... ; all with the
        same numbers of channels. `multispectrum_fit.fit` learns them from structures.
    """

    def __init__(self, expansion: ExpansionBasis, levels: Mapping[int, Sequence[Level]]) -> None:
        self.expansion = expansion
        self.levels = {s: tuple(of_species) for s, of_species in levels.items()}
        self.nu = 1 + len(next(iter(self.levels.values())))
        one = next(iter(self.levels.values()))
        counts = [expansion.n_blocks * expansion.counts.get(0, 0)]
        counts += [level[INVARIANT].matrix.shape[1] for level in one]
        self.order_of = np.repeat(np.arange(1, self.nu + 1, dtype=np.int32), counts)
        self._ends = np.cumsum([0, *counts])

    def __len__(self) -> int:
        """Number of invariants."""
        return len(self.order_of)

    def values(self, coefficients: Array, species: NDArray[np.int32]) -> Array:
        """Invariants (C, F) of centres with coefficients (C, n_blocks, size), species (C,); `order_of` their orders.

        `InputError` for a species of centres that had none to learn from.
        """
        out = np.empty((len(coefficients), len(self)))
        for levels, rows in self._blocks(species):
            orders = forward(levels, density(self.expansion, coefficients[rows]))
            out[rows] = np.concatenate([order[INVARIANT][0] for order in orders], axis=1)
        return out

    def equivariants(self, coefficients: Array, species: NDArray[np.int32]) -> dict[tuple[int, Irrep], Array]:
        """All equivariants, (C, 2 l + 1, channels), by order nu >= 2 and irrep; arguments as for `values`."""
        parts: dict[tuple[int, Irrep], Array] = {}
        for levels, rows in self._blocks(species):
            for nu, order in enumerate(forward(levels, density(self.expansion, coefficients[rows]))[1:], 2):
                for irrep, part in order.items():
                    shape = (len(coefficients), len(part), part.shape[2])
                    parts.setdefault((nu, irrep), np.zeros(shape))[rows] = np.moveaxis(part, 0, 1)
        return parts

    def pull_back(self, coefficients: Array, species: NDArray[np.int32], gradient: Array) -> Array:
        """dE/dc (C, n_blocks, size) of an energy with dE/d(invariants) = gradient (C, F)."""
        check_array("gradient", gradient, (len(coefficients), len(self)))
        out = np.zeros_like(coefficients)
        for levels, rows in self._blocks(species):
            parts = np.split(gradient[rows], self._ends[1:-1], axis=1)
            found = backward(levels, density(self.expansion, coefficients[rows]), parts)
            mine = np.zeros((len(rows), *out.shape[1:]))
            for l, view in self.expansion.split(mine).items():
                view[:] = np.moveaxis(found[Irrep(l, 1)].reshape(2 * l + 1, len(rows), out.shape[1], -1), 0, 2)
            out[rows] = mine
        return out

    def _blocks(self, species: NDArray[np.int32]) -> Iterator[tuple[tuple[Level, ...], NDArray[np.intp]]]:
        """Blocks of centres that share components, each small enough for the work space."""
        unknown = sorted(set(species.tolist()) - set(self.levels)) if ALL not in self.levels else []
        if unknown:
            raise InputError(
                f"multispectrum: no component for centres {symbols(unknown)}, only for {symbols(sorted(self.levels))}; "
                "make it from structures with all of them"
            )
        for s, levels in self.levels.items():
            mine = np.arange(len(species)) if s == ALL else np.flatnonzero(species == s)
            floats = max(c.floats for level in levels for part in level.values() for c, _ in part.coupled)
            step = centres_at_once(floats)
            for start in range(0, len(mine), step):
                yield levels, mine[start : start + step]


class MultispectrumFeatures:
    """The invariants over one neighbour list, with the interface of a `PowerSpectrum`."""

    def __init__(self, basis: Multispectrum, neighbours: NeighbourList) -> None:
        self.basis = basis
        self.expansion = SphericalExpansion(basis.expansion, neighbours)
        self._species = neighbours.species[neighbours.centres]
        self._coefficients: Array | None = None

    def values(self) -> Array:
        """Invariants (n_centres, n_features) at the positions last given to the neighbour list.

        `ValueError` if a neighbour is closer than 1e-8 Angstrom to its centre.
        """
        self._coefficients = self.expansion.values()
        return self.basis.values(self._coefficients, self._species)

    def vjp(self, gradient: Array) -> tuple[Array, Array]:
        """Forces (N, 3) and virial (3, 3) of an energy with dE/d(invariants) = gradient (n_centres, n_features).

        For the positions of the last `values`, which must have been called.
        """
        if self._coefficients is None:
            raise RuntimeError("MultispectrumFeatures.vjp: call values() first; the derivative is taken there")
        return self.expansion.vjp(self.basis.pull_back(self._coefficients, self._species, gradient))

    def coefficient_gradients(self) -> Array:
        """Derivatives of all features of one centre with respect to its coefficients, (n_features, n_blocks, size).

        For the positions of the last `values`. `ValueError` if there are several centres.
        """
        if self._coefficients is None or len(self._coefficients) != 1:
            raise ValueError("MultispectrumFeatures.coefficient_gradients: needs a single centre, after values()")
        number = len(self.basis)
        same = np.tile(self._coefficients, (number, 1, 1))
        return self.basis.pull_back(same, np.repeat(self._species, number), np.eye(number))


def density(expansion: ExpansionBasis, coefficients: Array) -> Equivariants:
    """Order 1: coefficients (C, n_blocks, size) by irrep; channel = block * n_l + n."""
    return {
        Irrep(l, 1): np.ascontiguousarray(np.moveaxis(part, 2, 0)).reshape(2 * l + 1, len(coefficients), -1)
        for l, part in expansion.split(coefficients).items()
    }


def forward(levels: Sequence[Level], one: Equivariants) -> list[Equivariants]:
    """All orders, from 1 on. If the density has no l = 0, order 1 has no invariants."""
    orders = [one]
    for level in levels:
        orders.append({irrep: part.values(orders[-1], one) for irrep, part in level.items()})
    if INVARIANT not in one:
        centres = next(iter(one.values())).shape[1]
        orders[0] = one | {INVARIANT: np.zeros((1, centres, 0))}
    return orders


def backward(levels: Sequence[Level], one: Equivariants, gradients: Sequence[Array]) -> Equivariants:
    """The gradient of order 1 from those of the invariants (centres, K) of all orders."""
    orders = forward(levels, one)
    back = [{irrep: np.zeros_like(part) for irrep, part in order.items()} for order in orders]
    for order, gradient in zip(back, gradients, strict=True):
        order[INVARIANT][0] += gradient
    for nu in range(len(levels), 0, -1):
        for irrep, part in levels[nu - 1].items():
            part.pull_back(orders[nu - 1], one, back[nu][irrep], back[nu - 1], back[0])
    return back[0]


def centres_at_once(floats: int) -> int:
    """Number of centres in a block, if each needs this many floats of work space."""
    return max(1, BLOCK_BYTES // (8 * floats))
