"""Evaluates products of coefficients: the graph of `products` in the layout of the kernel (cython_ext/ace.pyx)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .. import _ext
from ..frame import Array
from .couplings import real_clebsch_gordan
from .expansion import ExpansionBasis
from .lanes import LANES, aligned_zeros, round_to_lanes
from .products import ProductGraph

_kernel = _ext.kernel("ace")


class InvariantProducts:
    """The functions of a graph for the coefficients of an expansion; keeps its work space.

    expansion: one for all blocks, or one for each. Coefficients are (n, size), block after block, as returned by
        `SphericalExpansion.values`.
    layout: the arrays that the kernel reads, in the order of its arguments.

    ValueError: the expansion lacks a channel of the graph.
    """

    def __init__(self, graph: ProductGraph, expansion: ExpansionBasis | Sequence[ExpansionBasis]) -> None:
        self.graph = graph
        blocks = (expansion,) * expansion.n_blocks if isinstance(expansion, ExpansionBasis) else tuple(expansion)
        self.size = sum(block.size for block in blocks)
        self._order = np.lexsort((np.arange(len(graph)), graph.dots[:, 0]))
        self.layout = _layout(graph, blocks, self._order)
        self._kernel = _kernel.Products(*self.layout, graph.n_components)
        self._work = aligned_zeros((_ext.cpu.max_threads(), round_to_lanes(self._kernel.workspace())))
        self._norms = graph.norms[self._order]

    def __len__(self) -> int:
        """Number of functions."""
        return len(self.graph)

    def prepared(self, weights: Array) -> Array:
        """Converts weights (K,) or (P, K) of the functions for use in `energies`, `properties` and `pull`."""
        return np.ascontiguousarray(weights[..., self._order] * self._norms)

    def energies(self, c: Array, prepared: Array, energies: Array, gradient: Array) -> None:
        """Writes energies (n,) sum_k w_k f_k of centres with coefficients c, and dE/dc to gradient; both (n, size)."""
        self._kernel.energies(c, prepared, energies, gradient, self._work)

    def properties(self, c: Array, prepared: Array) -> Array:
        """The properties phi_p = sum_k w_pk f_k, (P, n), of centres with coefficients c (n, size)."""
        phi = np.empty((len(prepared), len(c)))
        self._kernel.properties(c, prepared, phi, self._mixed_work(len(prepared)))
        return phi

    def pull(self, c: Array, prepared: Array, slopes: Array, gradient: Array) -> None:
        """Writes dE/dc to gradient (n, size), given the derivatives slopes (P, n) of E by the properties."""
        self._kernel.pull(c, prepared, np.ascontiguousarray(slopes), gradient, self._mixed_work(len(prepared)))

    def _mixed_work(self, properties: int) -> Array:
        size = round_to_lanes(self._kernel.mixed_workspace(properties))
        if self._work.shape[1] < size:
            self._work = aligned_zeros((len(self._work), size))
        return self._work

    def values(self, c: Array) -> Array:
        """The functions (n, K)."""
        values = np.empty((len(c), len(self)))
        self._kernel.values(c, values, self._work)
        out = np.empty_like(values)
        out[:, self._order] = values * self._norms
        return out

    def combine(self, c: Array, d: Array, a: Array, b: Array) -> Array:
        """Sums (P, K) over centres of a[p, i] f_k(i) + b[p, i] df_k(i), with the derivative along the change d of c.

        c, d: (n, size). a, b: (P, n), P at most 64. Uses one thread: several threads share the structures instead.
        """
        found = np.empty((len(a), len(self)))
        self._kernel.combine(c, d, np.ascontiguousarray(a), np.ascontiguousarray(b), found)
        out = np.empty_like(found)
        out[:, self._order] = found * self._norms
        return out

    def derivatives(self, c: Array, rows: NDArray[np.int32], tangents: Array, n_targets: int) -> Array:
        """Minus the derivatives of sums of functions, (n_targets * directions, K) in Fortran order.

        rows (R, 3): centre, block and target of each of `tangents` (R, directions, block size), as returned by
        `SphericalExpansion.gradients`; rows of a centre are consecutive.
        """
        out = np.zeros((len(self), n_targets, tangents.shape[1]))
        tangents = np.ascontiguousarray(tangents)
        self._kernel.derivatives(c, np.ascontiguousarray(rows, dtype=np.int32), tangents, out)
        back = np.empty_like(self._order)
        back[self._order] = np.arange(len(back))
        return (out.reshape(len(self), -1) * self._norms[:, None])[back].T


def _layout(graph: ProductGraph, blocks: Sequence[ExpansionBasis], order: NDArray) -> tuple[NDArray, ...]:
    """The arrays of the kernel."""
    kind_first = np.flatnonzero(np.any(np.diff(graph.couplings[:, :3], axis=0, prepend=-1), axis=1))
    kinds = graph.couplings[kind_first, :3]
    first, terms = _tables(kinds)
    dots = graph.dots[order] * [1, 1, 2] + [0, 0, 1]
    starts = np.flatnonzero(np.diff(dots[:, 0], prepend=-1))
    # vectors of one u have one L, but the first component, which is 1, also begins those of order one
    integer = np.int32
    return (
        _source(graph, blocks),
        kinds.astype(integer),
        np.append(kind_first, len(graph.couplings)).astype(integer),
        np.ascontiguousarray(LANES * graph.couplings[:, 3:], dtype=integer),
        first,
        terms,
        np.ascontiguousarray(dots, dtype=integer),
        np.ascontiguousarray(dots[starts][:, [0, 2]], dtype=integer),
        np.append(starts, len(dots)).astype(integer),
    )


def _source(graph: ProductGraph, blocks: Sequence[ExpansionBasis]) -> NDArray[np.int32]:
    source = np.zeros(graph.n_channel_components, dtype=np.int32)
    starts = np.cumsum([0, *(block.size for block in blocks)]).tolist()
    for (block, n, l), start in graph.first.items():
        if block >= len(blocks) or n >= blocks[block].counts.get(l, 0):
            raise ValueError(f"expansion: has no radial function {n} of l = {l}, block {block}")
        begin = starts[block] + blocks[block].offsets[l] + n
        stride = round_to_lanes(blocks[block].counts[l])
        source[start : start + 2 * l + 1] = begin + stride * np.arange(2 * l + 1)
    return source


def _tables(kinds: NDArray) -> tuple[NDArray[np.int32], NDArray]:
    """Terms of every kind of coupling: by components of the result, of the first, and of the second factor."""
    longest = 2 * int(kinds.max(initial=0)) + 2
    first = np.zeros((max(1, len(kinds)), 3, longest), dtype=np.int32)
    terms: list[tuple[int, int, float]] = []
    for number, (l1, l2, l3) in enumerate(kinds.tolist()):
        coupling = real_clebsch_gordan(l1, l2, l3)
        for table, axes in enumerate(((2, 0, 1), (0, 1, 2), (1, 0, 2))):
            turned = np.transpose(coupling, axes)
            for place, part in enumerate(turned):
                first[number, table, place] = len(terms)
                terms += [(LANES * p, LANES * q, part[p, q]) for p, q in np.argwhere(part != 0).tolist()]
            first[number, table, len(turned) :] = len(terms)
    return first, np.array(terms or [(0, 0, 0.0)], dtype=_kernel.TERM)
