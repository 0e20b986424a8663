"""The expected errors of the labels by cross-validation: factors with the smallest errors of what is left out.

Each of eight groups of structures is predicted by a fit to the others. The score is the logarithm of the product of the
errors of energies, forces and virials, each the geometric mean over the groups: a group that no sigmas can predict does
not decide. Its gradient comes with it at no cost.

All sigmas together are first divided by one of `STRENGTHS`: that of the smallest score among those whose gain is more
than its standard error over the groups. Few or very different structures, whose groups disagree, so begin at the
defaults. From there the score descends to the next minimum.

Near the minimum the score hardly tells fits from one another, and the closer ones predict worse what is unlike the
data. So sigmas that became smaller go back towards the defaults, first all by the same share of their logarithms, then
each, as far as no quantity loses more than the standard error of its loss over the groups (the rule of one standard
error of Breiman et al., Classification and Regression Trees, 1984, for pairs).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize

from ..errors import InputError
from ..frame import Array
from .config import FitConfig
from .progress import Progress
from .regression import Factor
from .validation import LeftOut, Validation

STRENGTHS = (1.0, 4.0, 16.0)  # by which all sigmas are divided where the search may begin
LEAST = 0.02  # gain of the score for which it begins at another than the first
STRONGEST, WEAKEST = 64.0, 8.0  # by which a sigma may be divided, and multiplied
EVALUATIONS = 20  # at most, until the score is smallest
WORTH, SLOPE = 1e-3, 0.01  # gain of the score, and its slope, below which the search ends
MOST = 0.1  # of the error of a quantity that may be lost on the way back, however much the groups disagree
SHARES = (0.5, 0.25, 0.125)  # of the way back to the defaults, which are added as long as nothing surely gets worse


def choose_sigmas(
    config: FitConfig, validation: Validation, factors: dict[str, list[Factor]], progress: Progress
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Factors of the sigmas with the smallest product of errors of what is left out, and all that were tried.

    Among those of [cross_validation], or, if there are neither these nor sigmas, by a search from the defaults.
    """
    scan = config.cross_validation
    if scan is None and config.sigma:
        return {}, []
    if min(map(len, factors.values())) < 2:
        if scan is None:
            return {}, []
        raise InputError("cross_validation: needs two structures at least")
    if scan is None:
        return _minimise(validation, tuple(factors), progress)
    grid = [
        {"energy": energy, "forces": forces}
        for energy in (scan.energy_factors if "energy" in factors else (1.0,))
        for forces in (scan.force_factors if "forces" in factors else (1.0,))
    ]
    table = [_entry(sigma, validation.left_out(sigma)) for sigma in progress(grid, "cross-validation", len(grid))]
    return min(table, key=lambda entry: entry["score"])["factors"], table


def _entry(sigma: dict[str, float], left_out: LeftOut) -> dict[str, Any]:
    return {"factors": sigma, "errors": left_out.errors(), "score": left_out.score()}


def _minimise(
    validation: Validation, quantities: tuple[str, ...], progress: Progress
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The factors at a minimum of the score, by L-BFGS in their logarithms, and all that were tried."""
    table: list[dict[str, Any]] = []
    most = EVALUATIONS + len(SHARES) * (1 + len(quantities))
    shown = iter(progress(range(most), "cross-validation", most))
    known: dict[bytes, LeftOut] = {}

    def left_out(logarithms: Array) -> LeftOut:
        if (found := known.get(logarithms.tobytes())) is not None:
            return found
        next(shown, None)
        sigma = dict(zip(quantities, np.exp(logarithms).tolist(), strict=True))
        found = known[logarithms.tobytes()] = validation.left_out(sigma)
        table.append(_entry(sigma, found))
        return found

    def slopes(found: LeftOut) -> Array:
        gradient = found.gradient()
        return np.array([gradient[quantity] for quantity in quantities])

    def score(logarithms: Array) -> tuple[float, Array]:
        found = left_out(logarithms)
        return found.score() / scale, slopes(found) / scale

    starts = [np.full(len(quantities), -np.log(strength)) for strength in STRENGTHS]
    begun = [left_out(start) for start in starts]
    first = _surest(begun)
    scale = max(float(np.linalg.norm(slopes(begun[first]))), SLOPE)  # the first step changes factors by e
    found = minimize(
        score,
        starts[first],
        jac=True,
        method="L-BFGS-B",
        bounds=[(-np.log(STRONGEST), np.log(WEAKEST))] * len(quantities),
        options={"maxfun": EVALUATIONS - len(table), "maxls": 4, "ftol": WORTH, "gtol": SLOPE / scale},
    )
    chosen = go_back(left_out, found.x)
    for _ in shown:
        pass
    return dict(zip(quantities, np.exp(chosen).tolist(), strict=True)), table


def go_back(left_out: Callable[[Array], LeftOut], smallest: Array) -> Array:
    """Logarithms of factors from those of the smallest score (n,) back towards the defaults: all, then each."""
    best, found = left_out(smallest), smallest.copy()
    directions = [smallest < 0, *(np.eye(len(smallest), dtype=bool) & (smallest < 0))]
    for moved in directions[: 1 if len(smallest) == 1 else None]:
        if moved.any():
            found = _as_far_as_nothing_is_lost(left_out, best, found, np.where(moved, 0.0, found))
    return found


def _as_far_as_nothing_is_lost(left_out: Callable[[Array], LeftOut], best: LeftOut, begin: Array, end: Array) -> Array:
    """The place between, by bisection."""
    share = 0.0
    for step in SHARES:
        if not surely_worse(left_out(begin + (share + step) * (end - begin)), best):
            share += step
    return begin + share * (end - begin)


def surely_worse(found: LeftOut, than: LeftOut) -> bool:
    """Whether the errors of a quantity are larger by more than the standard error over the groups, or than `MOST`."""
    before = than.logarithms()
    for quantity, logarithms in found.logarithms().items():
        loss = logarithms - before[quantity]
        loss = loss[np.isfinite(loss)]
        if len(loss) > 1 and loss.mean() > min(loss.std(ddof=1) / np.sqrt(len(loss)), MOST):
            return True
    return False


def _surest(found: Sequence[LeftOut]) -> int:
    """The place of the smallest score among those that are smaller than the first by more than their standard error."""
    gains = np.array([found[0].by_group() - one.by_group() for one in found])
    needed = np.maximum(gains.std(axis=1, ddof=1) / np.sqrt(gains.shape[1]), LEAST)
    return int(np.where(gains.mean(axis=1) > needed, gains.mean(axis=1), 0.0).argmax())
