"""How strongly weights are held, as data: each solver makes, from factors and the prior, the regulariser of all fits.

With u = S w the fit minimises |X u - y|^2 + |D u|^2, rows weighted by their sigmas. A solver chooses D: one (`ridge`),
one number by the evidence (`bayesian_ridge`), one for each column by the evidence (`ard`; MacKay, Neural Comput. 4, 415
(1992), Tipping, J. Mach. Learn. Res. 1, 211 (2001)), or nothing for columns that a rank-revealing QR keeps and nearly
infinity for others (`rrqr`; the QR of the triangular factor has the pivots of that of the matrix). What is fitted
afterwards, members and shares of the data, has the same D.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve, eigh, qr

from ..frame import Array
from ..sections import Section
from .regression import Factors, merge

ROUNDS = 60  # of the evidence, at most
SETTLED = 1e-3  # change of the logarithm of what is sought, at which it is found
RANGE = 1e12  # between which precisions may be: a weight with the largest is zero


class Ridge(Section):
    """`kind = "ridge"`: the prior as it is, its strength by the sigmas."""

    kind: Literal["ridge"] = "ridge"

    def regulariser(self, factors: Factors, sigma: Mapping[str, float], prior: Array) -> Array:
        """S (n, n) itself."""
        return prior


class BayesianRidge(Section):
    """`kind = "bayesian_ridge"`: the strength of the prior for which the data are most probable."""

    kind: Literal["bayesian_ridge"] = "bayesian_ridge"

    def regulariser(self, factors: Factors, sigma: Mapping[str, float], prior: Array) -> Array:
        """S times one number."""
        r, rows = _whitened(factors, sigma, prior)
        values, vectors = eigh(r[:-1, :-1].T @ r[:-1, :-1])
        values = np.maximum(values, 0.0)
        target, total = vectors.T @ (r[:-1, :-1].T @ r[:-1, -1]), r[:, -1] @ r[:, -1]
        ratio = 1.0
        for _ in range(ROUNDS):
            mean = target / (values + ratio)
            known = (values / (values + ratio)).sum()
            residual = max(total - 2 * mean @ target + mean**2 @ values, 1e-300)
            before, ratio = ratio, known / max(mean @ mean, 1e-300) * residual / max(rows - known, 1.0)
            ratio = float(np.clip(ratio, 1 / RANGE, RANGE))
            if abs(np.log(ratio / before)) < SETTLED:
                break
        return np.sqrt(ratio) * prior


class Ard(Section):
    """`kind = "ard"`: a strength for each weight, by the evidence: what the data do not need becomes zero."""

    kind: Literal["ard"] = "ard"

    def regulariser(self, factors: Factors, sigma: Mapping[str, float], prior: Array) -> Array:
        """S with rows times one number each."""
        r, rows = _whitened(factors, sigma, prior)
        matrix, target, total = r[:-1, :-1].T @ r[:-1, :-1], r[:-1, :-1].T @ r[:-1, -1], r[:, -1] @ r[:, -1]
        ratio = np.ones(len(target))
        for _ in range(ROUNDS):
            inverse = cho_solve(cho_factor(matrix + np.diag(ratio)), np.eye(len(ratio)))
            mean = inverse @ target
            known = np.clip(1 - ratio * np.diag(inverse), 1e-12, 1.0)
            residual = max(total - 2 * mean @ target + mean @ matrix @ mean, 1e-300)
            noise = residual / max(rows - known.sum(), 1.0)
            before, ratio = ratio, np.clip(known * noise / np.maximum(mean**2, 1e-300), 1 / RANGE, RANGE)
            if np.abs(np.log(ratio / before))[ratio < RANGE / 10].max(initial=0.0) < SETTLED:
                break
        return np.sqrt(ratio)[:, None] * prior


class Rrqr(Section):
    """`kind = "rrqr"`: least squares on the columns whose pivots are at least `tolerance` times the largest."""

    kind: Literal["rrqr"] = "rrqr"
    tolerance: float = Field(default=1e-4, ge=1e-14, lt=1)

    def regulariser(self, factors: Factors, sigma: Mapping[str, float], prior: Array) -> Array:
        """S with rows of columns that are kept next to zero, and of others huge."""
        r, _ = _whitened(factors, sigma, prior)
        triangle, order = qr(r[:-1, :-1], mode="r", pivoting=True)
        pivots = np.abs(np.diag(triangle))
        strength = np.full(len(order), pivots[0] * 1e3)
        strength[order[pivots >= self.tolerance * pivots[0]]] = pivots[0] * min(1e-9, self.tolerance * 1e-3)
        return strength[:, None] * prior


Solver = Annotated[Ridge | BayesianRidge | Ard | Rrqr, Field(discriminator="kind")]


def _whitened(factors: Factors, sigma: Mapping[str, float], prior: Array) -> tuple[Array, int]:
    """The factor (X | y) of all rows in u = S w, and their number."""
    r = merge(part.r / sigma.get(quantity, 1.0) for quantity, parts in factors.items() for part in parts)
    rows = sum(part.count for parts in factors.values() for part in parts)
    diagonal = np.diag(prior)
    by = r[:, :-1] / diagonal if np.count_nonzero(prior) == len(diagonal) else r[:, :-1] @ np.linalg.inv(prior)
    return np.column_stack([by, r[:, -1]]), rows
