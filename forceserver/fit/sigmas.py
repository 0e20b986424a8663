"""The expected errors of the labels by cross-validation: factors with the smallest errors of what is left out.

What is to be small is the product of the errors of energies, forces and virials, each the geometric mean over groups of
structures: one group that no sigmas can predict does not decide. A few structures say little of errors; so a step must
gain more than its standard error over the groups (the rule of one standard error of Breiman et al., Classification and
Regression Trees, 1984, for pairs), and nothing is expected to err by more than it does where it was left out.
"""

from typing import Any

import numpy as np

from ..errors import InputError
from .config import FitConfig
from .progress import Progress
from .regression import Factor, LeftOut, Validation

STEP = 2.0  # by which sigmas change in the search for the best
LARGEST_STEP = 5  # how often they may
FARTHEST = 3  # from those of other quantities: the errors of one are not to be had at any price of another
WORTH = 0.01  # gain in the logarithm of the errors for which the search goes on

Steps = tuple[int, ...]
"""For each quantity how often its sigma is multiplied by STEP."""


def choose_sigmas(
    config: FitConfig, validation: Validation, factors: dict[str, list[Factor]], progress: Progress
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Factors of the sigmas with the smallest product of errors of what is left out, and all that were tried.

    Among those of [cross_validation], or, if there are neither these nor sigmas, step by step from the defaults.
    """
    scan = config.cross_validation
    if scan is None and config.sigma:
        return {}, []
    if min(map(len, factors.values())) < 2:
        if scan is None:
            return {}, []
        raise InputError("cross_validation: needs two structures at least")
    if scan is None:
        return _descend(validation, tuple(factors), progress)
    grid = [
        {"energy": energy, "forces": forces}
        for energy in (scan.energy_factors if "energy" in factors else (1.0,))
        for forces in (scan.force_factors if "forces" in factors else (1.0,))
    ]
    table = [_entry(sigma, validation.left_out(sigma)) for sigma in progress(grid, "cross-validation", len(grid))]
    return min(table, key=lambda entry: entry["score"])["factors"], table


def _entry(sigma: dict[str, float], left_out: LeftOut) -> dict[str, Any]:
    return {"factors": sigma, "errors": left_out.errors(), "score": float(left_out.logarithms().mean())}


def _descend(
    validation: Validation, quantities: tuple[str, ...], progress: Progress
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Multiplies or divides one sigma after the other by STEP, the one that gains most, while that is sure to gain."""
    tried: dict[Steps, LeftOut] = {}

    def sigma(steps: Steps) -> dict[str, float]:
        return {quantity: STEP**step for quantity, step in zip(quantities, steps, strict=True)}

    def left_out(steps: Steps) -> LeftOut:
        if steps not in tried:
            tried[steps] = validation.left_out(sigma(steps))
        return tried[steps]

    def gain(steps: Steps) -> float:
        """By which the logarithm becomes smaller than at the best so far; 0 if that is not sure."""
        gains = left_out(best).logarithms() - left_out(steps).logarithms()
        sure = gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains))
        return float(gains.mean()) if sure and _is_met(sigma(steps), left_out(steps)) else 0.0

    best: Steps = (0,) * len(quantities)
    for _ in progress(range(2 * LARGEST_STEP), "cross-validation", 2 * LARGEST_STEP):
        better = max(_neighbours(best), key=gain)
        if gain(better) < WORTH:
            break
        best = better
    return sigma(best), [_entry(sigma(steps), found) for steps, found in tried.items()]


def _neighbours(steps: Steps) -> list[Steps]:
    near = [steps[:k] + (steps[k] + sign,) + steps[k + 1 :] for k in range(len(steps)) for sign in (-1, 1)]  # noqa: RUF005
    return [one for one in near if max(map(abs, one)) <= LARGEST_STEP and max(one) - min(one) <= FARTHEST]


def _is_met(sigma: dict[str, float], left_out: LeftOut) -> bool:
    """Whether no sigma above its default expects more errors than there are where the quantity is left out."""
    return all(factor <= max(1.0, left_out.errors()[quantity]) for quantity, factor in sigma.items())
