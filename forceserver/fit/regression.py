"""Regularised least squares of more rows than fit into memory, with leave-one-group-out fits at no further cost.

Minimised is |W (K w - y)|^2 + |S w|^2. Rows (K | y), already weighted, are reduced as they come to the triangular
factor of their QR decomposition, (R | Q^T y), which is all that the solution needs (normal equations would square the
condition number). There is one factor for every group of structures and every quantity (energies, forces, virials):
sigmas can be changed, and groups left out, afterwards.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy.linalg import cho_factor, cho_solve, lapack, solve_triangular
from threadpoolctl import threadpool_limits

from ..errors import InputError
from ..frame import Array

BATCH = 1024  # rows
PANEL = 32  # columns of the blocked decomposition
RESOLVED = 0.01  # in sigmas (0.03 meV, 1 meV/Angstrom by default): smaller errors are the digits of labels
QUANTITIES = ("energy", "forces", "virial")


class Factor:
    """The triangular factor of all rows that were added; (n + 1, n + 1), targets in the last column.

    count: number of rows.
    """

    def __init__(self, n: int) -> None:
        self.r = np.zeros((n + 1, n + 1), order="F")
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
            self.r = _update(self.r, np.concatenate(self._waiting))
            self._waiting = []


def _update(r: Array, rows: Array) -> Array:
    """The factor of `r` above further rows; `r` is overwritten."""
    return _reduce(0, r, np.asfortranarray(rows))


def merge(factors: Iterable[Array]) -> Array:
    """The factor of all rows of several factors."""
    total, *rest = (np.array(r, order="F") for r in factors)
    for r in rest:
        total = _reduce(len(r), total, r)
    return total


def _reduce(triangular: int, r: Array, rows: Array) -> Array:
    """LAPACK's tpqrt of `r` above `rows`, of which the last `triangular` are triangular; both are overwritten.

    One thread: the products are narrow, and threads of the BLAS would wait for each other, for long on a busy machine.
    """
    with threadpool_limits(1, "blas"):
        return lapack.dtpqrt(triangular, min(PANEL, len(r)), r, rows, overwrite_a=1, overwrite_b=1)[0]


def solve(r: Array, regulariser: Array) -> Array:
    """The weights (n,) of a factor with this S (n, n); `InputError` if the system is singular."""
    n = len(r) - 1
    rows = np.zeros((n, n + 1), order="F")
    rows[:, :n] = regulariser
    total = _update(np.array(r, order="F"), rows)
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
    groups = _by_group(factors, sigma)
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


def leave_two_out(factors: Factors, sigma: Mapping[str, float], regulariser: Array) -> Array:
    """(groups, groups, n): the weights [j, k] of fits without the groups j and k; [k, k] is without k alone.

    From normal equations, as in `Validation`.
    """
    inverse = np.linalg.inv(regulariser).astype(np.float64, copy=False)
    products = [
        _added(_product([part], inverse) / sigma.get(quantity, 1.0) ** 2 for quantity, part in group.items())
        for group in (dict(zip(factors, parts, strict=True)) for parts in zip(*factors.values(), strict=True))
    ]
    total, count = _added(products), len(products)
    weights = np.empty((count, count, len(regulariser)))
    for j in range(count):
        for k in range(j, count):
            rest = total - products[j] - products[k] if j != k else total - products[j]
            weights[j, k] = weights[k, j] = inverse @ _solve_normal(rest)
    return weights


def _added(parts: Iterable[Array]) -> Array:
    """Their sum, in an array of its own."""
    return reduce(np.add, parts, np.zeros(()))


def _solve_normal(total: Array) -> Array:
    """u of the normal equations (n + 1, n + 1), which are overwritten, with |u|^2 added."""
    return _factorised(total)[1]


def _factorised(total: Array) -> tuple[tuple[Array, bool], Array]:
    """The same, after the factor that it comes from, as `cho_factor` gives it."""
    n = len(total) - 1
    total[np.diag_indices(n)] += 1 + 1e-13 * np.trace(total[:n, :n])
    factor = cho_factor(total[:n, :n])
    return factor, cho_solve(factor, total[:n, n])


@dataclass(frozen=True)
class LeftOut:
    """Errors of what was left out, in expected errors at factors of one, for some factors of the quantities.

    squares: for each quantity the sums of squares (groups,). slopes: for each pair of quantities the derivatives
    (groups,) of the squares of the first by the logarithm of the factor of the second. counts: numbers of labels
    (groups,) of each quantity.
    """

    squares: Mapping[str, Array]
    slopes: Mapping[tuple[str, str], Array]
    counts: Mapping[str, Array]

    def errors(self) -> dict[str, float]:
        """Root of the mean square of each quantity."""
        return {q: float(np.sqrt(squares.sum() / self.counts[q].sum())) for q, squares in self.squares.items()}

    def logarithms(self) -> Array:
        """(groups,): the sum over quantities of the logarithm of the error of a group, so weighted that the mean is the
        sum of the means over the groups with labels. Errors count from `RESOLVED` on."""
        total: Array = np.zeros(())
        for quantity, squares in self.squares.items():
            counts = self.counts[quantity]
            logarithms = 0.5 * np.log(squares / np.maximum(counts, 1) + RESOLVED**2)
            total = total + np.where(counts > 0, logarithms, 0.0) * len(counts) / np.count_nonzero(counts)
        return total

    def score(self) -> float:
        """Their mean: the logarithm of the product of the geometric means of the errors of groups."""
        return float(self.logarithms().mean())

    def gradient(self) -> dict[str, float]:
        """The derivatives of the score by the logarithm of the factor of each quantity."""
        gradient = dict.fromkeys(self.squares, 0.0)
        for (quantity, factor), slopes in self.slopes.items():
            counts, squares = self.counts[quantity], self.squares[quantity]
            labelled = counts > 0
            relative = slopes[labelled] / (squares[labelled] + RESOLVED**2 * counts[labelled])
            gradient[factor] += float(0.5 * relative.mean())
        return gradient


class Validation:
    """Errors of groups of structures that are left out, for any sigmas, from normal equations in an orthonormal basis.

    In the basis of the kernel's functions, u = S w, normal equations are well enough conditioned to compare sigmas;
    the fit itself does without.
    """

    def __init__(self, factors: Factors, regulariser: Array) -> None:
        self._inverse = np.linalg.inv(regulariser).astype(np.float64, copy=False)
        self._factors = {q: parts for q, parts in factors.items() if any(part.count for part in parts)}
        self._products = {q: [_product([part], self._inverse) for part in parts] for q, parts in self._factors.items()}
        self._totals = {q: _added(products) for q, products in self._products.items()}
        self._counts = {q: np.array([part.count for part in parts]) for q, parts in self._factors.items()}
        self._groups = min(len(parts) for parts in factors.values())

    def left_out(self, sigma: Mapping[str, float]) -> LeftOut:
        """Errors of every group with the weights of a fit to the others."""
        squares = {q: np.zeros(self._groups) for q in self.quantities}
        slopes = {(q, by): np.zeros(self._groups) for q in self.quantities for by in self.quantities}
        for k in range(self._groups):
            others = {q: total - self._products[q][k] for q, total in self._totals.items()}
            weights, changes = self._weights(others, sigma)
            for quantity, parts in self._factors.items():
                errors = parts[k].r @ np.append(weights, -1.0)
                squares[quantity][k] = errors @ errors
                for by, change in changes.items():
                    slopes[quantity, by][k] = 2 * errors @ (parts[k].r[:, :-1] @ change)
        return LeftOut(squares, slopes, self._counts)

    def _weights(self, products: Mapping[str, Array], sigma: Mapping[str, float]) -> tuple[Array, dict[str, Array]]:
        """Weights (n,) of normal equations, and their derivatives (n,) by the logarithms of the sigmas."""
        strength = {q: sigma.get(q, 1.0) ** -2 for q in products}
        total = _added(strength[q] * product for q, product in products.items())
        factor, u = _factorised(total)
        changes = {
            q: 2 * strength[q] * cho_solve(factor, product[:-1, :-1] @ u - product[:-1, -1])
            for q, product in products.items()
        }
        return self._inverse @ u, {q: self._inverse @ change for q, change in changes.items()}

    def beside_the_others(self, quantity: str) -> tuple[float, float] | None:
        """The labels of a quantity beside what a fit to the other quantities says of them: the factor that makes them
        of these predictions (least squares), and the correlation. None without others, without any predictions, or if
        the labels are no more than digits."""
        others = [total for other, total in self._totals.items() if other != quantity]
        if not others:
            return None
        u, mine = _solve_normal(_added(others)), self._totals[quantity]
        both, predicted, labels = u @ mine[:-1, -1], u @ mine[:-1, :-1] @ u, mine[-1, -1]
        count = sum(part.count for part in self._factors[quantity])
        if not (predicted > 0 and labels > RESOLVED**2 * count):
            return None
        return float(both / predicted), float(both / np.sqrt(predicted * labels))

    @property
    def quantities(self) -> tuple[str, ...]:
        """Those of which there are labels."""
        return tuple(self._products)


def _product(parts: Sequence[Factor], inverse: Array) -> Array:
    """(R S^-1 | y)^T (R S^-1 | y) of several factors, (n + 1, n + 1)."""
    total = np.zeros((len(inverse) + 1, len(inverse) + 1))
    for part in parts:
        rows = np.column_stack([part.r[:, :-1] @ inverse, part.r[:, -1]])
        total += rows.T @ rows
    return total


def _by_group(factors: Factors, sigma: Mapping[str, float]) -> list[Array]:
    return [
        merge(part.r / sigma.get(quantity, 1.0) for quantity, part in zip(factors, parts, strict=True))
        for parts in zip(*factors.values(), strict=True)
    ]
