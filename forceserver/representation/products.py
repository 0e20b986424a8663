"""Products of one-particle coefficients, coupled to invariants: the basis of the atomic cluster expansion.

A channel (block, n, l) holds the 2 l + 1 coefficients A_m = c^i_{a n l m} of a centre. An invariant of order nu is made
of nu channels and is a scalar product of two vectors of one degree L, each of which is a channel or two coupled ones:

    order 1    A_1                                     (l = 0)
    order 2    A_1 . A_2 / sqrt(2 L + 1)
    order 3    (A_1 x A_2)_L . A_3 / sqrt(2 L + 1)     L = l_3
    order 4    (A_1 x A_2)_L . (A_3 x A_4)_L / sqrt(2 L + 1)

(Drautz, Phys. Rev. B 99, 014104 (2019); couplings of `couplings`, so that each is a tensor of length one applied to the
product of its channels). For given channels the L of order 4 are all that there are if channels differ; where some are
equal, the functions are linearly dependent, and as many are kept as characters count, chosen once for every pattern of
l and equal channels.

Which products: those with the smallest degree sum_k (n_k + 1 + l_weight * l_k), weighed by order. The centre itself is
not among its neighbours; what products say of one neighbour twice or thrice stays in.
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
COLUMNS = 3 * MAX_ORDER + 1
LARGEST = 100_000  # functions
SAME = 1e-8  # of the diagonal of a triangular factor, below which a function is a combination of others


class Channel(NamedTuple):
    """One radial function of one degree of the density of one block of neighbours."""

    block: int
    n: int
    l: int


class Truncation(Section):
    """Which products there are.

    functions: number of invariants, those of the smallest degree; ties go to lower orders.
    order: of the largest products: 4 for five-body functions. l_weight: what a degree of l counts in degrees of n.
    order_weights: by which the degree of each order is multiplied; larger ones make an order rarer.
    n_max, l_max: limits of n and l for each order, or one for all.
    """

    functions: int = Field(ge=1, le=LARGEST)
    order: int = Field(default=4, ge=1, le=MAX_ORDER)
    l_weight: float = Field(default=1.5, gt=0, le=20)
    order_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    n_max: tuple[int, ...] = (16, 16, 16, 16)
    l_max: tuple[int, ...] = (0, 6, 6, 6)


def truncate(rule: Truncation, n_blocks: int = 1) -> NDArray[np.int32]:
    """The functions (K, 13) of a rule: four channels (block, n, l), those that are not there -1, and L.

    Sorted by order. `ValueError` if there are fewer than `functions` within the limits.
    """
    degree, before = 4.0, 0
    while True:
        found = sorted(_up_to(rule, n_blocks, degree), key=lambda item: (item[0], len(item[1])))
        if len(found) >= rule.functions:
            break
        if len(found) == before and degree > 400:
            raise ValueError(f"functions = {rule.functions}: there are {len(found)} only with these n_max and l_max")
        before, degree = len(found), degree * 1.15 + 1e-9
    rows = np.full((rule.functions, COLUMNS), -1, dtype=np.int32)
    kept = sorted(found[: rule.functions], key=lambda item: len(item[1]))
    for row, (_, channels, l) in zip(rows, kept, strict=True):
        row[: 3 * len(channels)] = np.ravel(channels)
        row[-1] = l
    return rows


def _up_to(rule: Truncation, n_blocks: int, degree: float) -> Iterator[tuple[float, tuple[Channel, ...], int]]:
    """Degree, channels and L of every function up to a degree."""
    for order in range(1, rule.order + 1):
        weight = rule.order_weights[min(order, len(rule.order_weights)) - 1]
        n_max, l_max = (numbers[min(order, len(numbers)) - 1] for numbers in (rule.n_max, rule.l_max))
        channels = [Channel(b, n, l) for b in range(n_blocks) for n in range(n_max) for l in range(l_max + 1)]
        levels = [c.n + 1 + rule.l_weight * c.l for c in channels]
        ranked = sorted(zip(levels, channels, strict=True))
        for level, chosen in _multisets(ranked, order, degree / weight + 1e-9):
            for l in couplings_of(chosen):
                yield level * weight, *paired(chosen, l)


def _multisets(
    ranked: Sequence[tuple[float, Channel]], order: int, most: float, first: int = 0
) -> Iterator[tuple[float, tuple[Channel, ...]]]:
    """Channels in the order of `ranked`, with repetitions, whose levels add up to `most` at most."""
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
    """The L of linearly independent invariants of these channels, in the given order of them."""
    names = {channel: number for number, channel in enumerate(dict.fromkeys(channels))}
    return _couplings(tuple(c.l for c in channels), tuple(names[c] for c in channels))


@cache
def _couplings(degrees: tuple[int, ...], names: tuple[int, ...]) -> tuple[int, ...]:
    count = n_invariants(degrees, names)
    if count == 0:
        return ()
    if len(degrees) < MAX_ORDER:
        return (degrees[-1],)
    a, b, c, d = degrees
    possible = range(max(abs(a - b), abs(c - d)), min(a + b, c + d) + 1)
    rng = np.random.default_rng(0)
    vectors = [{name: rng.normal(size=2 * l + 1) for name, l in zip(names, degrees, strict=True)} for _ in range(24)]
    values = np.array([[_value(degrees, [v[name] for name in names], l) for l in possible] for v in vectors])
    kept: list[int] = []
    basis = np.zeros((len(values), 0))
    for number, l in enumerate(possible):
        column = values[:, number]
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)
        length = float(np.linalg.norm(column))
        if np.linalg.norm(rest) > SAME * max(length, 1e-300) and length > SAME:
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
            kept.append(l)
    if len(kept) != count:
        raise AssertionError(f"{degrees}, {names}: {len(kept)} independent couplings, characters count {count}")
    return tuple(kept)


def _value(degrees: Sequence[int], vectors: Sequence[Array], l: int) -> float:
    """(v_1 x v_2)_l . (v_3 x v_4)_l."""
    left = np.einsum("abc,a,b->c", real_clebsch_gordan(degrees[0], degrees[1], l), vectors[0], vectors[1])
    right = np.einsum("abc,a,b->c", real_clebsch_gordan(degrees[2], degrees[3], l), vectors[2], vectors[3])
    return float(left @ right)


def paired(channels: tuple[Channel, ...], l: int) -> tuple[tuple[Channel, ...], int]:
    """The channels in an order that makes few coupled vectors: in order 3 the last one is not coupled."""
    if len(channels) != 3:
        return channels, l
    *inner, outer = sorted(channels, key=lambda c: (c.l, c.n))
    return (*inner, outer), outer.l


@dataclass(frozen=True, eq=False)
class ProductGraph:
    """What the kernel computes of a table of functions: coupled vectors, then scalar products of vectors.

    functions: (K, 13), see `truncate`.

    Components of vectors are numbered: first 1, then those of the channels in use, then those of the coupled vectors.

    channels: those in use. first: of each, its first component.
    couplings: (D, 6) int32: l1, l2, L and the first components of both factors and of the result, by (l1, l2, L).
    dots: (K, 3) int32: first components of both sides and L. norms: (K,), by which scalar products are multiplied.
    """

    functions: NDArray[np.int32]

    @cached_property
    def order_of(self) -> NDArray[np.int64]:
        """(K,), the order of each function."""
        return (self.functions[:, 0:-1:3] >= 0).sum(axis=1)

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """Those in use, sorted by block, l and n."""
        parts = self.functions[:, :-1].reshape(-1, 3)
        used = {Channel(*map(int, part)) for part in np.unique(parts[parts[:, 0] >= 0], axis=0)}
        return tuple(sorted(used, key=lambda c: (c.block, c.l, c.n)))

    def channels_of(self, function: int) -> tuple[Channel, ...]:
        """The channels of one function."""
        parts = self.functions[function, :-1].reshape(-1, 3)
        return tuple(Channel(*map(int, part)) for part in parts if part[0] >= 0)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """For each l the number of radial functions in use."""
        l_max = max(c.l for c in self.channels)
        return tuple(max((c.n + 1 for c in self.channels if c.l == l), default=0) for l in range(l_max + 1))

    @cached_property
    def first(self) -> dict[Channel, int]:
        ends = np.cumsum([1, *(2 * c.l + 1 for c in self.channels)]).tolist()
        return dict(zip(self.channels, ends[:-1], strict=True))

    @cached_property
    def n_channel_components(self) -> int:
        """Those of channels, with the first, which is 1."""
        return 1 + sum(2 * c.l + 1 for c in self.channels)

    @cached_property
    def _parts(self) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
        first: dict[Channel, int] = self.first
        coupled: dict[tuple[Any, ...], int] = {}
        sides = []
        for number, row in enumerate(self.functions.tolist()):
            channels, l = self.channels_of(number), row[-1]
            left = channels[:2] if len(channels) > 2 else channels[:1]
            right = channels[len(left) :]
            for pair in (left, right):
                if len(pair) == 2:
                    coupled.setdefault((*pair, l), 0)
            sides.append((left, right, l))
        order = sorted(coupled, key=lambda key: (key[0].l, key[1].l, key[2], first[key[0]], first[key[1]]))
        end, rows = self.n_channel_components, []
        for a, b, l in order:
            rows.append((a.l, b.l, l, first[a], first[b], end))
            coupled[a, b, l] = end
            end += 2 * l + 1

        def place(part: tuple[Channel, ...], l: int) -> int:
            return 0 if not part else first[part[0]] if len(part) == 1 else coupled[(*part, l)]

        dots = [(place(left, l), place(right, l), l) for left, right, l in sides]
        return np.array(rows, dtype=np.int32).reshape(-1, 6), np.array(dots, dtype=np.int32), end

    @property
    def couplings(self) -> NDArray[np.int32]:
        return self._parts[0]

    @property
    def dots(self) -> NDArray[np.int32]:
        return self._parts[1]

    @property
    def n_components(self) -> int:
        """Of all vectors."""
        return self._parts[2]

    @cached_property
    def norms(self) -> Array:
        return 1 / np.sqrt(2 * self.functions[:, -1] + 1.0)

    def __len__(self) -> int:
        return len(self.functions)
