"""The expected errors of the labels by cross-validation: factors with the smallest errors of what is left out."""

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import InputError
from .config import FitConfig
from .regression import Factor, Validation, score

STEP = 2.0  # by which sigmas change in the search for the best
LARGEST_STEP = 5  # how often they may
FARTHEST = 3  # from those of other quantities: the errors of one are not to be had at any price of another
WORTH = 0.01  # gain in the logarithm of the errors for which the search goes on

Progress = Callable[[Iterable, str, int], Iterable]
"""Passes on what it iterates over, and shows a title and how many of a total are done."""


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
        return _descend(validation, factors, progress)
    grid = [
        {"energy": energy, "forces": forces}
        for energy in (scan.energy_factors if "energy" in factors else (1.0,))
        for forces in (scan.force_factors if "forces" in factors else (1.0,))
    ]
    table = [
        {"factors": sigma, "errors": validation.errors(sigma)}
        for sigma in progress(grid, "cross-validation", len(grid))
    ]
    return min(table, key=lambda entry: score(entry["errors"]))["factors"], table


def _descend(
    validation: Validation, factors: dict[str, list[Factor]], progress: Progress
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Multiplies and divides one factor after the other by STEP while that makes errors smaller."""
    table: dict[tuple[int, ...], dict[str, Any]] = {}

    def tried(steps: tuple[int, ...]) -> float:
        if steps not in table:
            sigma = {quantity: STEP**step for quantity, step in zip(factors, steps, strict=True)}
            table[steps] = {"factors": sigma, "errors": validation.errors(sigma)}
        return score(table[steps]["errors"])

    best = (0,) * len(factors)
    for _ in progress(range(2 * LARGEST_STEP), "cross-validation", 2 * LARGEST_STEP):
        near = [best[:k] + (best[k] + sign,) + best[k + 1 :] for k in range(len(best)) for sign in (-1, 1)]  # noqa: RUF005
        allowed = [steps for steps in near if max(map(abs, steps)) <= LARGEST_STEP]
        better = min((steps for steps in allowed if max(steps) - min(steps) <= FARTHEST), key=tried)
        if tried(better) > tried(best) - WORTH:
            break
        best = better
    return table[best]["factors"], list(table.values())
