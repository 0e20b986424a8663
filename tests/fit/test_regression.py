"""Streaming least squares against numpy's."""

import numpy as np
import pytest

from forceserver.errors import InputError
from forceserver.fit.regression import Factor, fit_all, merge, root_of_kernel, solve
from forceserver.fit.validation import Validation

N, GROUPS = 12, 4


def problem(seed=0):
    rng = np.random.default_rng(seed)
    data = {
        quantity: [(rng.normal(size=(rows, N)), rng.normal(size=rows)) for _ in range(GROUPS)]
        for quantity, rows in (("energy", 3), ("forces", 40))
    }
    factors = {}
    for quantity, groups in data.items():
        factors[quantity] = []
        for rows, targets in groups:
            factor = Factor(N)
            for part in (slice(0, 2), slice(2, 25), slice(25, None)):
                factor.add(rows[part], targets[part])
            factor.finish()
            factors[quantity].append(factor)
    root = rng.normal(size=(N, N))
    return data, factors, root_of_kernel(root @ root.T)


def direct(data, regulariser, sigma, groups):
    rows = [regulariser] + [data[q][g][0] / sigma.get(q, 1) for q in data for g in groups]
    targets = [np.zeros(N)] + [data[q][g][1] / sigma.get(q, 1) for q in data for g in groups]
    return np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)[0]


@pytest.mark.parametrize("sigma", [{}, {"energy": 0.1, "forces": 3.0}])
def test_all_fits_at_once_are_those_of_the_rows(sigma):
    data, factors, regulariser = problem()
    solution = fit_all(factors, sigma, regulariser)
    np.testing.assert_allclose(solution.weights, direct(data, regulariser, sigma, range(GROUPS)), rtol=1e-9)
    assert sorted(solution.by_share) == [1, 2, 4]
    for count, weights in solution.by_share.items():
        np.testing.assert_allclose(weights, direct(data, regulariser, sigma, range(count)), rtol=1e-9)
    for left, weights in enumerate(solution.left_out):
        rest = [g for g in range(GROUPS) if g != left]
        np.testing.assert_allclose(weights, direct(data, regulariser, sigma, rest), rtol=1e-8)


def test_members_spread_as_the_jackknife_says():
    _, factors, regulariser = problem()
    solution = fit_all(factors, {}, regulariser)
    members = solution.members()
    np.testing.assert_allclose(members.mean(axis=0), solution.weights, rtol=1e-10)
    variance = (GROUPS - 1) / GROUPS * ((solution.left_out - solution.left_out.mean(axis=0)) ** 2).sum(axis=0)
    np.testing.assert_allclose(members.var(axis=0, ddof=1), variance, rtol=1e-10)


def test_validation_measures_the_group_that_was_left_out():
    data, factors, regulariser = problem()
    errors = Validation(factors, regulariser).left_out({"energy": 0.5}).errors()
    for quantity in data:
        squares, count = 0.0, 0
        for left in range(GROUPS):
            w = direct(data, regulariser, {"energy": 0.5}, [g for g in range(GROUPS) if g != left])
            rows, targets = data[quantity][left]
            squares += ((rows @ w - targets) ** 2).sum()
            count += len(rows)
        assert errors[quantity] == pytest.approx(np.sqrt(squares / count), rel=1e-8)


def test_few_rows_are_kept_and_many_reduced():
    _, factors, _ = problem()
    assert [part.r.shape for part in factors["energy"]] == [(3, N + 1)] * GROUPS
    assert [part.r.shape for part in factors["forces"]] == [(N + 1, N + 1)] * GROUPS
    rows = np.concatenate([part.r for part in factors["energy"]])
    merged = merge(part.r for part in factors["energy"])
    np.testing.assert_allclose(merged.T @ merged, rows.T @ rows, atol=1e-12)
    assert not np.tril(merged, -1).any()


def test_root_of_a_kernel():
    x = np.random.default_rng(1).normal(size=(9, 4))
    kernel = x @ x.T  # of rank 4
    root = root_of_kernel(kernel)
    np.testing.assert_allclose(root.T @ root, kernel, atol=1e-12 * np.abs(kernel).max())


def test_singular_system_says_what_to_raise():
    factor = Factor(2)
    factor.add(np.array([[1.0, 1.0]]), np.array([1.0]))
    factor.finish()
    with pytest.raises(InputError, match="raise sigma"):
        solve(merge([factor.r]), np.zeros((2, 2)))
