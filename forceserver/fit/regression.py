"""Regularised least squares of more rows than fit into memory, with leave-one-group-out fits at no further cost.

Minimised is |W (K w - y)|^2 + |S w|^2. Rows (K | y), already weighted, are reduced as they come to the triangular
factor of their QR decomposition, (R | Q^T y), which is all that the solution needs (normal equations would square the
condition number). There is one factor for every group of structures and every quantity (energies, forces, virials):
sigmas can be changed, and groups left out, afterwards.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack, qr, solve_triangular
from threadpoolctl import threadpool_limits

from ..errors import InputError
from ..frame import Array

BATCH = 1024  # rows
PANEL = 32  # columns of the blocked decomposition
QUANTITIES = ("energy", "forces", "virial")


class Factor:
    """All rows (K | y) that were added, or less that says the same.

    r: (k, n + 1), targets in the last column: the rows while there are at most n, else, k being n + 1, the triangular
    factor of their QR decomposition. count: number of rows.
    """

    def __init__(self, n: int) -> None:
        self.r = np.zeros((0, n + 1), order="F")
        self.count = 0
        self._waiting: list[Array] = []

    def add(self, rows: Array, targets: Array) -> None:
        """Adds weighted rows (m, n) and targets (m,)."""
        self._waiting.append(np.column_stack([rows, targets]))
        self.count += len(rows)
        if sum(map(len, self._waiting)) >= BATCH:
            self.finish()

    def finish(self) -> None:
        """Takes in rows that wait."""
        if self._waiting:
            self.r = _joined(self.r, np.concatenate(self._waiting))
            self._waiting = []


def _joined(r: Array, rows: Array) -> Array:
    """What `Factor.r` is with further rows; a triangular `r` is overwritten."""
    width = r.shape[1]
    if len(r) == width:
        return _reduce(0, r, np.asfortranarray(rows))
    rows = np.concatenate([r, rows])
    return rows if len(rows) < width else _reduce(0, np.zeros((width, width), order="F"), np.asfortranarray(rows))


def merge(factors: Iterable[Array]) -> Array:
    """The triangular factor (n + 1, n + 1) of all rows of several factors, in an array of its own."""
    total: Array | None = None
    for r in factors:
        width = r.shape[1]
        if total is None and len(r) == width:
            total = np.array(r, order="F")
            continue
        if total is None:
            total = np.zeros((width, width), order="F")
        total = _reduce(len(r) if len(r) == width else 0, total, np.array(r, order="F"))
    assert total is not None, "there are groups"
    return total


def _reduce(triangular: int, r: Array, rows: Array) -> Array:
    """LAPACK's tpqrt of `r` above `rows`, of which the last `triangular` are triangular; both are overwritten.

    One thread: the products are narrow, and threads of the BLAS would wait for each other, for long on a busy machine.
    """
    if len(rows) == 0:
        return r
    with threadpool_limits(1, "blas"):
        return lapack.dtpqrt(triangular, min(PANEL, len(r)), r, rows, overwrite_a=1, overwrite_b=1)[0]


def solve(r: Array, regulariser: Array) -> Array:
    """The weights (n,) of a triangular factor with this S (n, n), triangular, too; `InputError` if it is singular."""
    n = len(r) - 1
    rows = np.zeros((n, n + 1), order="F")
    rows[:, :n] = regulariser
    total = _reduce(n, np.array(r, order="F"), rows)
    diagonal = np.abs(np.diag(total)[:n])
    if not np.isfinite(total).all() or diagonal.min() <= 1e-16 * diagonal.max():
        raise InputError(
            "the fit is singular: raise sigma (energy_ev, force_ev_per_angstrom), lower delta_ev, or choose fewer "
            "sparse points (n_sparse)"
        )
    return solve_triangular(total[:n, :n], total[:n, n], check_finite=False)


def root_of_kernel(kernel: Array, jitter: float = 1e-13) -> Array:
    """S with S^T S = kernel + jitter * its largest eigenvalue, (n, n); by default about the rounding error."""
    values, vectors = np.linalg.eigh(kernel)
    return np.sqrt(np.maximum(values, 0.0) + jitter * values[-1])[:, None] * vectors.T


def triangular_root(root: Array) -> Array:
    """The upper triangular S with the same S^T S, (n, n)."""
    if not np.tril(root, -1).any():
        return root
    r: Array = qr(root, mode="r")[0]
    return r


@dataclass(frozen=True)
class Solution:
    """weights (n,); by_share: number of groups -> weights from these many groups; left_out: (groups, n) or None."""

    weights: Array
    by_share: dict[int, Array]
    left_out: Array | None

    def members(self, factor: float = 1.0) -> Array | None:
        """(groups, n): left_out spread about the weights, so that a standard deviation of linear functions of them is
        `factor` times the jackknife error, sqrt((G - 1) / G sum (f_g - mean)^2)."""
        if self.left_out is None:
            return None
        count = len(self.left_out)
        deviation = self.left_out - self.left_out.mean(axis=0)
        return self.weights + factor * (count - 1) / np.sqrt(count) * deviation


Factors = Mapping[str, Sequence[Factor]]
"""For each quantity the factors of all groups."""


def fit_all(factors: Factors, sigma: Mapping[str, float], regulariser: Array) -> Solution:
    """All fits: with everything, with the first 1, 2, 4 ... groups, and with all groups but one.

    sigma: factors by which the sigmas of the quantities are multiplied.
    """
    groups, regulariser = _by_group(factors, sigma), triangular_root(regulariser)
    before = [groups[0]]
    for r in groups[1:]:
        before.append(merge([before[-1], r]))
    count = len(groups)
    shares = [k for k in (1, 2, 4, 8, 16) if k < count]
    by_share = {k: solve(before[k - 1], regulariser) for k in shares}
    weights = by_share[count] = solve(before[-1], regulariser)
    left_out = None
    if count > 1:
        left_out = np.empty((count, len(weights)))
        left_out[-1] = solve(before[-2], regulariser)
        after = groups[-1]
        for k in range(count - 2, -1, -1):
            left_out[k] = solve(merge([before[k - 1], after]) if k else after, regulariser)
            after = merge([after, groups[k]]) if k else after
    return Solution(weights, by_share, left_out)


def _by_group(factors: Factors, sigma: Mapping[str, float]) -> list[Array]:
    return [
        merge(part.r / sigma.get(quantity, 1.0) for quantity, part in zip(factors, parts, strict=True))
        for parts in zip(*factors.values(), strict=True)
    ]
