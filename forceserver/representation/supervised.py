"""Radial functions for l = 0 that keep variance and predict energies: principal covariates regression (PCovR).

With the covariance C of the coefficients c_{an00} of all environments (`contraction`), and W the ridge regression of
the energies of structures on the means of these coefficients over their atoms, the functions are the covariates of

    gamma C / tr C + (1 - gamma) C^1/2 W W^T C^1/2 / tr(W^T C W)

as scikit-matter's `PCovR` finds them, orthonormalised in their order: gamma = 1 gives principal components, gamma = 0
what a linear model of pairs needs. W has a column for each species of centres. Degrees l > 0 have principal components.

de Jong, Kiers, Chemom. Intell. Lab. Syst. 14, 155 (1992); Helfrecht, Cersonsky, Fraux, Ceriotti, Mach. Learn.: Sci.
Technol. 1, 045021 (2020); for radial bases Goscinski et al., J. Chem. Phys. 155, 104106 (2021).
"""

import numpy as np

from ..frame import Array
from .contraction import ALL, Contraction, Covariance, coefficients_of
from .expansion import ExpansionBasis
from .neighbours import Selection
from .targets import Targets, without

ALPHAS = np.geomspace(1e-14, 1e-2, 25)
"""Of the ridge, relative to the largest eigenvalue."""


def pcovr(
    covariance: Covariance,
    targets: Targets,
    *,
    gamma: float = 0.5,
    mixed: bool = False,
    q_max: int | None = None,
    residual_variance: float | None = None,
    centres: Selection | None = None,
    neighbours: Selection | None = None,
    centre_contribution: bool = True,
    tolerance: float = 1e-8,
) -> Contraction:
    """The contraction whose functions with l = 0 also predict energies.

    gamma: weight of the variance, from 0 to 1; the rest is that of the prediction. mixed, q_max, residual_variance: as
    for `Covariance.contraction`, which raises the same errors. The others as for `Covariance.of`.
    """
    unsupervised = covariance.contraction(mixed=mixed, q_max=q_max, residual_variance=residual_variance)
    expansion = covariance.expansion(tolerance, centre_contribution=centre_contribution)
    if 0 not in expansion.counts:
        return unsupervised
    weights = _regression(targets, _means(expansion, targets, centres, neighbours))  # (A, n, B)
    spectra, vectors = covariance.eigen(mixed)
    matrix = covariance.matrices[0]
    of_zero: dict[int, Array] = {}
    rows: dict[int, Array] = {}
    if mixed:
        size = matrix.shape[0] * matrix.shape[1]
        of_zero[ALL], u = covariates(matrix.reshape(size, size), weights.reshape(size, -1), gamma)
        rows = dict(zip(covariance.species, np.split(u, len(covariance.species), axis=1), strict=True))
    for k, s in enumerate(() if mixed else covariance.species):
        of_zero[s], rows[s] = covariates(matrix[k, :, k], weights[k], gamma)
    return covariance.keeping(
        {s: [of_zero[s], *spectrum[1:]] for s, spectrum in spectra.items()},
        {s: [rows[s], *of_species[1:]] for s, of_species in vectors.items()},
        q_max,
        residual_variance,
    )


def covariates(covariance: Array, weights: Array, gamma: float) -> tuple[Array, Array]:
    """Variances (n,) and rows (n, n), orthonormal, of the functions, those that are kept first in front.

    covariance (n, n), weights (n, B): of B properties. scikit-matter is given a root of the covariance instead of all
    environments: it makes the same of both.
    """
    from skmatter.decomposition import PCovR

    values, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    x = np.vstack([root, -root])  # centred, as it is expected to be; environments are not
    predicted = x @ weights
    x /= np.linalg.norm(x) or 1.0
    predicted /= np.linalg.norm(predicted) or 1.0
    rank = int((values > 1e-12 * values[-1]).sum())
    model = PCovR(mixing=gamma, n_components=rank, space="feature", regressor="precomputed", svd_solver="full")
    rows = np.linalg.qr(model.fit(x, predicted).pxt_, mode="complete")[0].T
    largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
    rows = rows * np.sign(largest)
    return np.maximum(np.einsum("qn,nm,qm->q", rows, covariance, rows), 0.0), rows


def _means(
    expansion: ExpansionBasis, targets: Targets, centres: Selection | None, neighbours: Selection | None
) -> Array:
    """Sums of c_{an00} over the centres of each species, by the number of atoms: (S, B, A, n)."""
    species = targets.species
    out = np.zeros((len(targets.frames), len(species), expansion.n_blocks, expansion.counts[0]))
    for row, frame, number in zip(out, targets.frames, targets.numbers, strict=True):
        coefficients, of_centres = coefficients_of(expansion, frame, number, centres, neighbours)
        radial = expansion.split(coefficients)[0][:, :, 0]
        for k, s in enumerate(species):
            row[k] = radial[of_centres == s].sum(axis=0) / len(frame)
    return out


def _regression(targets: Targets, means: Array) -> Array:
    """W (A, n, B) by ridge regression, its strength by two-fold cross-validation."""
    from skmatter.linear_model import Ridge2FoldCV

    rows = without(targets.composition, means)
    x = rows.reshape(len(rows), -1)
    ridge = Ridge2FoldCV(alphas=ALPHAS, alpha_type="relative", random_state=0, scoring="neg_root_mean_squared_error")
    ridge.fit(x, targets.energies[:, None])
    return np.moveaxis(np.reshape(ridge.coef_, means.shape[1:]), 0, -1)
