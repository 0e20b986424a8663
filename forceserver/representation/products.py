"""Products of one-particle coefficients, coupled to invariants: the basis of the atomic cluster expansion.

A channel (block, n, l) holds the 2 l + 1 coefficients A_m = c^i_{a n l m} of a centre. An invariant of order nu is made
of nu channels. It is a scalar product of two vectors of the same degree L; each vector is a channel, or several coupled
channels:

    order 1    A_1                                     (l = 0)
    order 2    A_1 . A_2 / sqrt(2 L + 1)
    order 3    (A_1 x A_2)_L . A_3 / sqrt(2 L + 1)     L = l_3
    order 4    (A_1 x A_2)_L . (A_3 x A_4)_L / sqrt(2 L + 1)
    order 5    ((A_1 x A_2)_K x A_3)_L . (A_4 x A_5)_L / sqrt(2 L + 1)

and so on: the first half of the channels (rounded up) are coupled one after the other, and so is the second half
(Drautz, Phys. Rev. B 99, 014104 (2019)). With the coefficients of `couplings`, each function is a tensor of length one
applied to the product of its channels. For order 4 and higher, there are several choices of the inner degrees K, L, ...
. If all channels differ, all of them are used. If some are equal, these functions are linearly dependent; their rank
follows from characters, and as many are kept, chosen once for every pattern of l and equal channels. Fits use functions
up to order 4; potentials of other programs may have higher orders.

A function is a row of integers: block, n and l of its channels (-1 for missing ones), the inner degrees K of the first
and of the second half, and L. A table with functions up to order N >= 4 has 4 N - 3 columns.

The products with the smallest degree sum_k (n_k + 1 + l_weight * l_k), weighted by order, are used. The centre itself
is not among its neighbours; products in which the same neighbour occurs several times are not removed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..frame import Array
from ..sections import Section
from .couplings import n_invariants, real_clebsch_gordan

MAX_ORDER = 4
COLUMNS = 4 * MAX_ORDER - 3
LARGEST = 100_000  # functions
SAME = 1e-8  # relative diagonal of a triangular factor below which a function is a combination of others


class Channel(NamedTuple):
    """One radial function n of degree l for one block of neighbours."""

    block: int
    n: int
    l: int


class Truncation(Section):
    """Which products are used.

    functions: number of invariants, those with the smallest degree; ties are resolved in favour of lower orders.
    order: order of the largest products: 4 for five-body functions. l_weight: weight of l relative to n in the degree.
    order_weights: factors of the degree for each order; a larger one makes an order rarer.
    n_max, l_max: limits of n and l for each order, or one for all.
    """

    functions: int = Field(ge=1, le=LARGEST)
    order: int = Field(default=4, ge=1, le=MAX_ORDER)
    l_weight: float = Field(default=1.5, gt=0, le=20)
    order_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    n_max: tuple[int, ...] = (16, 16, 16, 16)
    l_max: tuple[int, ...] = (0, 6, 6, 6)


def truncate(rule: Truncation, n_blocks: int = 1, counts: Sequence[int] | None = None) -> NDArray[np.int32]:
    """The functions (K, 13) of a rule: four channels (block, n, l), -1 for missing ones, and L.

    counts: how many radial functions each l has, if not as many as the rule takes.
    Sorted by order. `ValueError` if there are fewer than `functions` within the limits.
    """
    degree, before = 4.0, 0
    while True:
        found = sorted(_up_to(rule, n_blocks, degree, counts), key=lambda item: (item[0], len(item[1])))
        if len(found) >= rule.functions:
            break
        if len(found) == before and degree > 400:
            raise ValueError(f"functions = {rule.functions}: there are only {len(found)} with these n_max and l_max")
        before, degree = len(found), degree * 1.15 + 1e-9
    rows = np.full((rule.functions, COLUMNS), -1, dtype=np.int32)
    kept = sorted(found[: rule.functions], key=lambda item: len(item[1]))
    for row, (_, channels, l) in zip(rows, kept, strict=True):
        row[: 3 * len(channels)] = np.ravel(channels)
        row[-1] = l
    return rows


def _up_to(
    rule: Truncation, n_blocks: int, degree: float, counts: Sequence[int] | None
) -> Iterator[tuple[float, tuple[Channel, ...], int]]:
    """Degree, channels and L of every function up to a degree."""
    for order in range(1, rule.order + 1):
        weight = rule.order_weights[min(order, len(rule.order_weights)) - 1]
        n_max, l_max = (numbers[min(order, len(numbers)) - 1] for numbers in (rule.n_max, rule.l_max))
        most = [n_max] * (l_max + 1) if counts is None else [min(n_max, count) for count in counts[: l_max + 1]]
        channels = [Channel(b, n, l) for b in range(n_blocks) for l, count in enumerate(most) for n in range(count)]
        levels = [c.n + 1 + rule.l_weight * c.l for c in channels]
        ranked = sorted(zip(levels, channels, strict=True))
        for level, chosen in _multisets(ranked, order, degree / weight + 1e-9):
            for l in couplings_of(chosen):
                yield level * weight, *paired(chosen, l)


def _multisets(
    ranked: Sequence[tuple[float, Channel]], order: int, most: float, first: int = 0
) -> Iterator[tuple[float, tuple[Channel, ...]]]:
    """Multisets of channels, in the order of `ranked`, whose levels add up to no more than `most`."""
    for number in range(first, len(ranked)):
        level, channel = ranked[number]
        if order * level > most:
            return
        if order == 1:
            yield level, (channel,)
            continue
        for rest, channels in _multisets(ranked, order - 1, most - level, number):
            yield level + rest, (channel, *channels)


def couplings_of(channels: Sequence[Channel]) -> tuple[int, ...]:
    """The L of the linearly independent invariants of up to four channels, in the given order of channels."""
    return tuple(degrees[-1] for degrees in inner_degrees_of(channels))


def inner_degrees_of(channels: Sequence[Channel]) -> tuple[tuple[int, ...], ...]:
    """The inner degrees and L of the linearly independent invariants of any number of channels, in the given order."""
    names = {channel: number for number, channel in enumerate(dict.fromkeys(channels))}
    return independent(tuple(c.l for c in channels), tuple(names[c] for c in channels))


@cache
def independent(degrees: tuple[int, ...], names: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The same for channels with these l, where equal names mean equal channels; couplings of small degrees first."""
    count = n_invariants(degrees, names)
    if count == 0:
        return ()
    if len(degrees) < 4:
        return ((degrees[-1],),)
    rng = np.random.default_rng(0)
    samples = max(24, count + 8)
    vectors = {name: rng.normal(size=(samples, 2 * l + 1)) for name, l in zip(names, degrees, strict=True)}
    kept: list[tuple[int, ...]] = []
    basis = np.zeros((samples, 0))
    for inner in _possible(degrees):
        column = coupled_values([vectors[name] for name in names], inner)
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)
        length = float(np.linalg.norm(column))
        if np.linalg.norm(rest) > SAME * max(length, 1e-300) and length > SAME:
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
            kept.append(inner)
            if len(kept) == count:
                return tuple(kept)
    raise AssertionError(f"{degrees}, {names}: {len(kept)} independent couplings, characters count {count}")


def halves(order: int) -> tuple[int, int]:
    """How many channels are coupled on either side of the scalar product."""
    return (order + 1) // 2, order // 2


def _possible(degrees: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All inner degrees and L of four or more channels, sorted so that vectors with few components come first."""

    def chains(part: tuple[int, ...]) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = [(part[0],)]
        for l in part[1:]:
            found = [(*chain, k) for chain in found for k in range(abs(chain[-1] - l), chain[-1] + l + 1)]
        return [chain[1:] for chain in found]

    middle = halves(len(degrees))[0]
    sides = [chains(degrees[:middle]), chains(degrees[middle:])]
    possible = [(*a[:-1], *b[:-1], a[-1]) for a in sides[0] for b in sides[1] if a[-1] == b[-1]]
    return sorted(possible, key=lambda inner: (sum(inner), inner))


def coupled_values(vectors: Sequence[Array], inner: Sequence[int]) -> Array:
    """Scalar products (n,), without norms, of channels with components `vectors`, each (n, 2 l + 1)."""
    first, _ = halves(len(vectors))
    left = _chain(vectors[:first], [*inner[: max(first - 2, 0)], inner[-1]])
    right = _chain(vectors[first:], [*inner[max(first - 2, 0) : -1], inner[-1]])
    return np.einsum("nm,nm->n", left, right)


def _chain(vectors: Sequence[Array], degrees: Sequence[int]) -> Array:
    if not vectors:
        return np.ones((1, 1))
    coupled = vectors[0]
    for vector, degree in zip(vectors[1:], degrees, strict=False):
        coupling = real_clebsch_gordan((coupled.shape[1] - 1) // 2, (vector.shape[1] - 1) // 2, degree)
        coupled = np.einsum("abc,na,nb->nc", coupling, coupled, vector, optimize=True)
    return coupled


def paired(channels: tuple[Channel, ...], l: int) -> tuple[tuple[Channel, ...], int]:
    """The channels in an order for which there are few coupled vectors: in order 3 the last one is not coupled."""
    if len(channels) != 3:
        return channels, l
    *inner, outer = sorted(channels, key=lambda c: (c.l, c.n))
    return (*inner, outer), outer.l


Vector = tuple[Any, ...]
"""() for one, (channel,), or (vector, vector, L) for two that are coupled."""


def _coupled(channels: Sequence[Channel], degrees: Sequence[int]) -> Vector:
    if not channels:
        return ()
    vector: Vector = (channels[0],)
    for channel, degree in zip(channels[1:], degrees, strict=False):
        vector = (vector, (channel,), degree)
    return vector


def _degree(vector: Vector) -> int:
    return 0 if not vector else vector[0].l if len(vector) == 1 else vector[2]


def _depth(vector: Vector) -> int:
    """Number of channels that are coupled."""
    return len(vector) if len(vector) < 2 else _depth(vector[0]) + _depth(vector[1])


def _kind(vector: Vector) -> tuple[int, int, int]:
    return _degree(vector[0]), _degree(vector[1]), vector[2]


def _couplings_in(vector: Vector) -> Iterator[Vector]:
    while len(vector) == 3:
        yield vector
        vector = vector[0]


@dataclass(frozen=True, eq=False)
class ProductGraph:
    """How the kernel computes a table of functions: coupled vectors, then scalar products of vectors.

    functions: (K, 4 N - 3), see above.

    The components of vectors are numbered: first 1, then the channels in use, then the coupled vectors.

    channels: those in use. first: the first component of each.
    couplings: (D, 6) int32: l1, l2, L and the first components of both factors and of the result. A factor that is
        itself a result comes earlier; otherwise they are sorted by (l1, l2, L).
    dots: (K, 3) int32: first components of both sides, and L. norms: (K,), the factors of the scalar products.
    """

    functions: NDArray[np.int32]

    @cached_property
    def order_of(self) -> NDArray[np.int64]:
        """(K,), the order of each function."""
        return (self._parts_of_functions[:, :, 0] >= 0).sum(axis=1)

    @property
    def _parts_of_functions(self) -> NDArray[np.int32]:
        """(K, N, 3): the channels."""
        most = (self.functions.shape[1] + 3) // 4
        return self.functions[:, : 3 * most].reshape(-1, most, 3)

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """The channels in use, sorted by block, l and n."""
        parts = self._parts_of_functions.reshape(-1, 3)
        used = {Channel(*map(int, part)) for part in np.unique(parts[parts[:, 0] >= 0], axis=0)}
        return tuple(sorted(used, key=lambda c: (c.block, c.l, c.n)))

    def channels_of(self, function: int) -> tuple[Channel, ...]:
        """The channels of one function."""
        return tuple(Channel(*part) for part in self._parts_of_functions[function].tolist() if part[0] >= 0)

    def sides_of(self, function: int) -> tuple["Vector", "Vector"]:
        """Both sides of the scalar product of one function."""
        channels = self.channels_of(function)
        first, second = halves(len(channels))
        *inner, l = self.functions[function, self._parts_of_functions.shape[1] * 3 :].tolist()
        cut = max(halves(self._parts_of_functions.shape[1])[0] - 2, 0)
        left = [*inner[: max(first - 2, 0)], l]
        right = [*inner[cut : cut + max(second - 2, 0)], l]
        return _coupled(channels[:first], left), _coupled(channels[first:], right)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The number of radial functions in use, for each l."""
        l_max = max(c.l for c in self.channels)
        return tuple(max((c.n + 1 for c in self.channels if c.l == l), default=0) for l in range(l_max + 1))

    @cached_property
    def first(self) -> dict[Channel, int]:
        ends = np.cumsum([1, *(2 * c.l + 1 for c in self.channels)]).tolist()
        return dict(zip(self.channels, ends[:-1], strict=True))

    @cached_property
    def n_channel_components(self) -> int:
        """Number of components of the channels, including the constant first component 1."""
        return 1 + sum(2 * c.l + 1 for c in self.channels)

    def is_invariant(self, function: int) -> bool:
        """Whether the degrees of one function can be coupled to a scalar that inversion does not change."""
        left, right = self.sides_of(function)
        fits = all(abs(a - b) <= l <= a + b for v in (left, right) for a, b, l in map(_kind, _couplings_in(v)))
        even = sum(channel.l for channel in self.channels_of(function)) % 2 == 0
        return fits and even and _degree(left) == _degree(right)

    @cached_property
    def _parts(self) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
        place: dict[Vector, int] = {(): 0, **{(channel,): start for channel, start in self.first.items()}}
        sides = [self.sides_of(number) for number in range(len(self))]
        coupled = {part for pair in sides for vector in pair for part in _couplings_in(vector)}
        end, rows = self.n_channel_components, []
        for depth in range(2, 1 + max(map(_depth, coupled), default=1)):
            level = [vector for vector in coupled if _depth(vector) == depth]
            for vector in sorted(level, key=lambda v: (*_kind(v), place[v[0]], place[v[1]])):
                rows.append((*_kind(vector), place[vector[0]], place[vector[1]], end))
                place[vector] = end
                end += 2 * vector[2] + 1
        dots = [(place[left], place[right], _degree(left)) for left, right in sides]
        return np.array(rows, dtype=np.int32).reshape(-1, 6), np.array(dots, dtype=np.int32), end

    @property
    def couplings(self) -> NDArray[np.int32]:
        return self._parts[0]

    @property
    def dots(self) -> NDArray[np.int32]:
        return self._parts[1]

    @property
    def n_components(self) -> int:
        """Number of components of all vectors."""
        return self._parts[2]

    @cached_property
    def norms(self) -> Array:
        return 1 / np.sqrt(2 * self.functions[:, -1] + 1.0)

    def __len__(self) -> int:
        return len(self.functions)
