"""Errors of groups of structures that fits do not know, for any sigmas, and labels beside what others say of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy.linalg import blas, cho_factor, cho_solve, lapack

from ..errors import InputError
from ..frame import Array
from .regression import Factors, triangular_root

RESOLVED = 0.01  # in sigmas (0.03 meV, 1 meV/Angstrom by default): smaller errors are the digits of labels
FEWEST = 20  # labels that can contradict others: energy and stress of one structure fit to its forces by chance


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

    def logarithms(self) -> dict[str, Array]:
        """For each quantity the logarithm of the error of every group (groups,), nan without labels. Errors count from
        `RESOLVED` on."""
        found = {}
        for quantity, squares in self.squares.items():
            counts = self.counts[quantity]
            logarithms = 0.5 * np.log(squares / np.maximum(counts, 1) + RESOLVED**2)
            found[quantity] = np.where(counts > 0, logarithms, np.nan)
        return found

    def by_group(self) -> Array:
        """(groups,): their sum over quantities, so weighted that its mean is the sum of the means over the groups with
        labels."""
        total: Array = np.zeros(())
        for logarithms in self.logarithms().values():
            labelled = np.isfinite(logarithms)
            total = total + np.where(labelled, logarithms, 0.0) * len(labelled) / np.count_nonzero(labelled)
        return total

    def score(self) -> float:
        """Its mean: the logarithm of the product of the geometric means of the errors of groups."""
        return float(self.by_group().mean())

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
    """Fits without groups of structures, for any sigmas, from normal equations in an orthonormal basis.

    In the basis of the kernel's functions, u = S w, normal equations are well enough conditioned to compare sigmas;
    the fit itself does without.
    """

    def __init__(self, factors: Factors, regulariser: Array) -> None:
        self._inverse = _inverse(triangular_root(regulariser))
        self._factors = {q: parts for q, parts in factors.items() if any(part.count for part in parts)}
        self._products = {q: [_product(part.r, self._inverse) for part in parts] for q, parts in self._factors.items()}
        self._totals = {q: reduce(np.add, products) for q, products in self._products.items()}
        self._counts = {q: np.array([part.count for part in parts]) for q, parts in self._factors.items()}
        self._groups = min(len(parts) for parts in factors.values())

    def left_out(self, sigma: Mapping[str, float]) -> LeftOut:
        """Errors of every group with the weights of a fit to the others."""
        squares = {q: np.zeros(self._groups) for q in self.quantities}
        slopes = {(q, by): np.zeros(self._groups) for q in self.quantities for by in self.quantities}
        total = self._sum(self._totals, sigma)
        for k in range(self._groups):
            weights, changes = self._weights(total, k, sigma)
            for quantity, parts in self._factors.items():
                errors = parts[k].r @ np.append(weights, -1.0)
                squares[quantity][k] = errors @ errors
                for by, change in changes.items():
                    slopes[quantity, by][k] = 2 * errors @ (parts[k].r[:, :-1] @ change)
        return LeftOut(squares, slopes, self._counts)

    def left_two_out(self, sigma: Mapping[str, float]) -> Array:
        """(groups, groups, n): the weights [j, k] of fits without the groups j and k; [k, k] is without k alone."""
        total, count = self._sum(self._totals, sigma), self._groups
        weights = np.empty((count, count, len(self._inverse)))
        for j in range(count):
            for k in range(j, count):
                rest = self._without({j, k}, total, sigma)
                weights[j, k] = weights[k, j] = self._inverse @ _factorised(rest)[1]
        return weights

    def _sum(self, products: Mapping[str, Array], sigma: Mapping[str, float]) -> Array:
        """(n + 1, n + 1), of all quantities, divided by their variances."""
        total = np.zeros_like(next(iter(products.values())))
        for quantity, product in products.items():
            _add(total, product, sigma.get(quantity, 1.0) ** -2)
        return total

    def _without(self, groups: Iterable[int], total: Array, sigma: Mapping[str, float]) -> Array:
        """`total`, which is that of all groups, of the others."""
        rest = total.copy("K")
        for k in groups:
            for quantity, products in self._products.items():
                _add(rest, products[k], -(sigma.get(quantity, 1.0) ** -2))
        return rest

    def _weights(self, total: Array, k: int, sigma: Mapping[str, float]) -> tuple[Array, dict[str, Array]]:
        """Weights (n,) without a group, and their derivatives (n,) by the logarithms of the sigmas."""
        factor, u = _factorised(self._without([k], total, sigma))
        known, changes = np.append(u, -1.0), {}
        for quantity, of_all in self._totals.items():
            slope = of_all[:-1] @ known - self._products[quantity][k][:-1] @ known
            changes[quantity] = self._inverse @ cho_solve(factor, 2 * sigma.get(quantity, 1.0) ** -2 * slope)
        return self._inverse @ u, changes

    def beside_the_others(self, quantity: str) -> tuple[float, float] | None:
        """The labels of a quantity beside what a fit to the other quantities says of them: the factor that makes them
        of these predictions (least squares), and the correlation. None if there are fewer than `FEWEST` labels of
        either, without any predictions, or if the labels are no more than digits."""
        if (u := self._fit_to_the_others(quantity)) is None:
            return None
        mine = self._totals[quantity]
        both, predicted, labels = u @ mine[:-1, -1], u @ mine[:-1, :-1] @ u, mine[-1, -1]
        if not (predicted > 0 and labels > RESOLVED**2 * self._counts[quantity].sum()):
            return None
        return float(both / predicted), float(both / np.sqrt(predicted * labels))

    def weights_of_the_others(self, quantity: str) -> Array | None:
        """The weights (n,) of a fit to the other quantities; None if there are fewer than `FEWEST` labels of either."""
        u = self._fit_to_the_others(quantity)
        return None if u is None else self._inverse @ u

    def _fit_to_the_others(self, quantity: str) -> Array | None:
        others = {other: total for other, total in self._totals.items() if other != quantity}
        counts = [int(self._counts[quantity].sum()), sum(int(self._counts[other].sum()) for other in others)]
        return None if min(counts) < FEWEST else _factorised(self._sum(others, {}))[1]

    @property
    def quantities(self) -> tuple[str, ...]:
        """Those of which there are labels."""
        return tuple(self._products)


def _add(total: Array, product: Array, factor: float) -> None:
    """Adds to `total` in place; a temporary array of this size would take longer than the sum."""
    blas.daxpy(product.ravel("K"), total.ravel("K"), a=factor)


def _factorised(total: Array) -> tuple[tuple[Array, bool], Array]:
    """The Cholesky factor (as `cho_factor` gives it) of normal equations (n + 1, n + 1), which are overwritten, with
    |u|^2 added; and their solution u."""
    n = len(total) - 1
    total[np.diag_indices(n)] += 1 + 1e-13 * np.trace(total[:n, :n])
    factor = cho_factor(total[:n, :n])
    return factor, cho_solve(factor, total[:n, n])


def _inverse(triangle: Array) -> Array:
    """Of an upper triangular matrix."""
    inverse, info = lapack.dtrtri(triangle)
    if info:
        raise InputError("the kernel of the sparse points is singular: raise jitter, or choose fewer points (n_sparse)")
    return inverse


def _product(r: Array, inverse: Array) -> Array:
    """(R S^-1 | y)^T (R S^-1 | y), (n + 1, n + 1), for a triangular S^-1."""
    if len(r) == 0:
        return np.zeros((r.shape[1], r.shape[1]), order="F")
    rows = np.empty(r.shape, order="F")
    rows[:, :-1] = blas.dtrmm(1.0, inverse, r[:, :-1], side=1)
    rows[:, -1] = r[:, -1]
    upper: Array = blas.dsyrk(1.0, rows, trans=1)
    upper += np.triu(upper, 1).T
    return upper
