"""Solvers against problems whose answers are known."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from forceserver.fit.regression import Factor, fit_all
from forceserver.fit.solvers import Ard, BayesianRidge, Ridge, Rrqr


def problem(weights, rows=200, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, len(weights)))
    targets = matrix @ weights + noise * rng.normal(size=rows)
    return matrix, targets


def factors_of(matrix, targets, parts=4):
    factors = []
    for k in range(parts):
        factor = Factor(matrix.shape[1])
        factor.add(matrix[k::parts], targets[k::parts])
        factor.finish()
        factors.append(factor)
    return {"energy": factors}


def solved(solver, factors, prior):
    return fit_all(factors, {}, solver.regulariser(factors, {}, prior)).weights


def test_ridge_is_the_prior():
    prior = np.diag([1.0, 2.0])
    assert Ridge().regulariser({}, {}, prior) is prior


def test_bayesian_ridge_has_the_largest_evidence():
    """Of any strength of the prior and any noise."""
    weights = np.random.default_rng(1).normal(size=6)
    matrix, targets = problem(weights, rows=40, noise=0.7)
    prior = np.diag([1.0, 2.0, 1.0, 0.5, 1.0, 1.0])
    ratio = BayesianRidge().regulariser(factors_of(matrix, targets), {}, prior)[0, 0] ** 2

    def evidence(noise, ratio):
        covariance = noise * (np.eye(40) + matrix @ np.linalg.inv(ratio * prior**2) @ matrix.T)
        return multivariate_normal(np.zeros(40), covariance).logpdf(targets)

    noises = np.geomspace(0.1, 2, 60)
    best = max(evidence(noise, ratio) for noise in noises)
    others = [max(evidence(noise, other) for noise in noises) for other in np.geomspace(ratio / 20, ratio * 20, 41)]
    assert best >= max(others) - 1e-2


def test_ard_switches_off_what_is_not_needed():
    weights = np.zeros(20)
    weights[[2, 11, 17]] = [1.0, -2.0, 0.5]
    factors = factors_of(*problem(weights))
    found = solved(Ard(), factors, np.eye(20))
    np.testing.assert_allclose(found, weights, atol=0.05)
    plain = solved(Ridge(), factors, np.eye(20))
    rest = np.setdiff1d(np.arange(20), [2, 11, 17])
    assert np.abs(found[rest]).sum() < 0.3 * np.abs(plain[rest]).sum()


def test_rrqr_leaves_out_combinations_of_other_columns():
    weights = np.array([1.0, -1.0, 0.5, 0.0, 0.0])
    matrix, _ = problem(weights)
    matrix[:, 3] = matrix[:, 0] + 1e-7 * matrix[:, 3]
    matrix[:, 4] = matrix[:, 1] - matrix[:, 2] + 1e-7 * matrix[:, 4]
    targets = matrix @ weights
    found = solved(Rrqr(tolerance=1e-4), factors_of(matrix, targets), np.eye(5))
    assert (np.abs(found) < 1e-6).sum() == 2
    np.testing.assert_allclose(matrix @ found, targets, atol=1e-4)


@pytest.mark.parametrize("solver", [BayesianRidge(), Ard(), Rrqr()])
def test_a_prior_that_is_a_matrix(solver):
    """As of kernel models."""
    weights = np.array([1.0, -1.0, 0.5])
    matrix, targets = problem(weights, noise=0.01)
    prior = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(solved(solver, factors_of(matrix, targets), prior), weights, atol=0.02)
