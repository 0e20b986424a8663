"""Contraction over chemical species alone: pseudo-species, which are combinations of elements.

    |b> = sum_a u_ba |a>,        c^i_{bnlm} = sum_a u_ba c^i_{anlm}

The radial functions stay as they are; a neighbour of any species adds to all B pseudo-species. u are the first
eigenvectors of the covariance of the species, sum_l sum_n C^l_{an,a'n}, or given, or those of the best linear model
(`alchemical_model`). It is a mixed `Contraction` whose matrix for species a is u_a x 1: channel b n_l + n.

Willatt, Musil, Ceriotti, Phys. Chem. Chem. Phys. 20, 29661 (2018).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..elements import named_element, symbols
from ..errors import InputError
from ..frame import Array
from .contraction import ALL, Contraction, Covariance, enough, padded, principal


def of_species(covariance: Covariance) -> Array:
    """sum_l sum_n C^l_{an,a'n}, (A, A): how much of the density two species have in common."""
    return sum((np.einsum("anbn->ab", m) for m in covariance.matrices), np.zeros((len(covariance.species),) * 2))


def principal_weights(covariance: Covariance, q_max: int | None, residual_variance: float | None) -> Array:
    """u (B, A): at most `q_max` principal components, and no more than leave this fraction of the variance.

    `InputError`: neither is given, or there are not as many species.
    """
    if q_max is None and residual_variance is None:
        raise InputError("contraction: give q_max or residual_variance, which say how many pseudo-species are kept")
    species = covariance.species
    if q_max is not None and q_max > len(species):
        raise InputError(f"contraction: q_max = {q_max} pseudo-species of {len(species)} species ({symbols(species)})")
    values, u = principal(of_species(covariance))
    return u[: enough([values], q_max, residual_variance)]


def given_weights(weights: Mapping[str, Sequence[float]], species: Sequence[int]) -> Array:
    """u (B, A) of weights by symbol; `InputError` for a species without weights, and for lengths that differ."""
    by_number = {named_element(symbol): row for symbol, row in weights.items()}
    missing = sorted(set(species) - set(by_number))
    if missing:
        raise InputError(f"contraction.weights: there are none for the species {symbols(missing)}")
    if len({len(row) for row in by_number.values()}) != 1:
        lengths = ", ".join(f"{len(row)} for {symbol}" for symbol, row in weights.items())
        raise InputError(
            f"contraction.weights: every species needs one weight for each pseudo-species; there are {lengths}"
        )
    u = np.array([by_number[s] for s in species], dtype=np.float64).T
    if np.linalg.matrix_rank(u) < len(u):
        raise InputError(f"contraction.weights: {len(u)} pseudo-species are not independent; leave some out")
    return u


def alchemical(covariance: Covariance, u: Array) -> Contraction:
    """The contraction with these weights (B, A); what it leaves out is told by the space that its rows span.

    `InputError`: there are fewer environments than pseudo-species.
    """
    covariance.require_environments(len(u))
    n_max = covariance.basis.n_max
    matrices = {s: np.zeros((len(covariance.matrices), len(u) * n_max, n_max)) for s in covariance.species}
    variances, complete = [], np.linalg.qr(u.T, mode="complete")[0].T
    for l, matrix in enumerate(covariance.matrices):
        n = matrix.shape[1]
        for of_one, weights in zip(matrices.values(), u.T, strict=True):
            of_one[l, : len(u) * n, :n] = np.kron(weights[:, None], np.eye(n))
        variances.append(np.einsum("ba,anAn,bA->bn", complete, matrix, complete).ravel())
    return Contraction(covariance.basis, True, matrices, {ALL: padded(variances)})
