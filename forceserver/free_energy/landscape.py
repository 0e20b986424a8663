"""Minima, barriers and basins of a free energy on a grid.

The sub-level sets {F < f} are followed as f rises: a minimum is where a set is born, a saddle where two meet, and the
barrier between two minima is the lowest that any path between them must cross (minimax). Of two sets that meet, the
shallower minimum counts only if it is deeper than `depth` below the saddle; otherwise it is noise, part of the other.
A basin is what flows down to a minimum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..frame import Array
from .surface import Surface


@dataclass(frozen=True)
class Minimum:
    """index: its node. value: F there."""

    index: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class Saddle:
    """The crossing between the minima numbered `between`. adjacent: whether their basins met there."""

    between: tuple[int, int]
    index: tuple[int, ...]
    value: float
    adjacent: bool


@dataclass(frozen=True)
class Landscape:
    """minima: by rising F. saddles: one for each pair. basins: the minimum of every node, -1 if never visited."""

    minima: list[Minimum]
    saddles: list[Saddle]
    basins: Array


def find_landscape(surface: Surface, depth: float) -> Landscape:
    """All minima that are deeper below the way out than `depth`, and than three of their standard errors."""
    f = surface.values
    flat = f.ravel()
    errors = np.zeros(f.size) if surface.errors is None else surface.errors.ravel()
    table, _ = neighbour_table(surface)
    owner = [-1] * flat.size  # the minimum that a node flows to, a node number; -1: not reached yet
    joined: dict[int, int] = {}  # minima that turned out to be noise -> the minimum they went to
    members: dict[int, list[int]] = {}  # deepest minimum of a connected set -> all minima of it
    set_of: dict[int, int] = {}  # minimum -> deepest minimum of its set
    meetings: dict[tuple[int, int], tuple[int, bool]] = {}

    def kept(minimum: int) -> int:
        while minimum in joined:
            minimum = joined[minimum]
        return minimum

    for node in np.argsort(flat, kind="stable").tolist():
        if not np.isfinite(flat[node]):
            break
        around = [n for n in table[node].tolist() if n >= 0 and owner[n] >= 0]
        if not around:
            owner[node] = node
            members[node], set_of[node] = [node], node
            continue
        owner[node] = owner[min(around, key=lambda n: flat[n])]
        for found in {owner[n] for n in around}:
            here, other = kept(owner[node]), kept(found)
            a, b = set_of[here], set_of[other]
            if a == b:
                continue
            if (flat[a], a) > (flat[b], b):  # of two equal ones the first, which is `lowest`
                a, b = b, a
            if flat[node] - flat[b] < max(depth, 3 * errors[b]):
                target = here if set_of[here] == a else other
                for minimum in members.pop(b):
                    joined[minimum] = target
                    del set_of[minimum]
                continue
            for first, second in product(members[a], members[b]):
                meetings[first, second] = node, {first, second} == {here, other}
            for minimum in members.pop(b):
                set_of[minimum] = a
                members[a].append(minimum)
    lowest = int(np.argmin(flat))  # is one whatever its error
    ordered = sorted((n for n in set_of if n == lowest or np.isfinite(errors[n])), key=lambda n: flat[n])
    number = {node: k for k, node in enumerate(ordered)}
    basins = np.array([number.get(kept(n), -1) for n in owner]).reshape(f.shape)
    saddles = [
        Saddle((min(pair), max(pair)), _index(node, f.shape), float(flat[node]), adjacent)
        for (a, b), (node, adjacent) in meetings.items()
        if a in number and b in number
        for pair in [(number[a], number[b])]
    ]
    minima = [Minimum(_index(node, f.shape), float(flat[node])) for node in ordered]
    return Landscape(minima, sorted(saddles, key=lambda s: s.between), basins)


def maximum_flux_path(surface: Surface, start: Sequence[int], end: Sequence[int], kt: float) -> Array:
    """The nodes (n, d) of the way from one node to another that minimises int exp(F/kT) dl, in grid units.

    Overdamped dynamics prefers this path (Berkowitz et al., J. Chem. Phys. 79, 5563 (1983)). Empty if there is none.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    flat = surface.values.ravel()
    resistance = np.exp((flat - flat.min()) / kt)
    table, lengths = neighbour_table(surface)
    nodes, steps = np.nonzero((table >= 0) & np.isfinite(flat)[:, None] & np.isfinite(flat[table]))
    there = table[nodes, steps]
    costs = 0.5 * (resistance[nodes] + resistance[there]) * lengths[steps]
    graph = csr_array((costs, (nodes, there)), shape=(flat.size, flat.size))
    first, last = (int(np.ravel_multi_index(tuple(index), surface.values.shape)) for index in (start, end))
    _, before = dijkstra(graph, indices=first, return_predecessors=True)
    way = [last]
    while way[-1] != first:
        if before[way[-1]] < 0:
            return np.empty((0, len(start)), dtype=int)
        way.append(int(before[way[-1]]))
    return np.stack(np.unravel_index(way[::-1], surface.values.shape), axis=1)


def neighbour_table(surface: Surface) -> tuple[Array, Array]:
    """The nodes around every node, diagonals included, (N, m), -1 where the grid ends; and their distances (m,)."""
    shape = surface.values.shape
    steps = np.array([step for step in product((-1, 0, 1), repeat=len(shape)) if any(step)])
    numbers = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    for axis, variable in enumerate(surface.variables):
        width = [(int(axis == k),) * 2 for k in range(len(shape))]
        how = {"mode": "wrap"} if variable.domain else {"constant_values": -1}
        numbers = np.pad(numbers, width, **how)
    columns = [
        numbers[tuple(slice(1 + i, 1 + i + n) for i, n in zip(step, shape, strict=True))].ravel() for step in steps
    ]
    return np.stack(columns, axis=1), np.sqrt(np.sum(steps**2, axis=1))


def _index(node: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(node, shape))
