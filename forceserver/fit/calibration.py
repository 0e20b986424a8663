"""By how much the spread of the members is too small, from structures that were left out.

The members of a model are fits without an eighth of the structures each. They share most of their data and all sparse
points, so that they differ by less than they err. Here each eighth is predicted by a fit without it, whose own members
are fits without one more eighth, and its errors are compared with the spread of these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..analysis.coverage import SHARES, Coverage
from ..frame import Array, Frame
from .data import Labelled

FEWEST = 16  # structures, for a share of 95 % to mean anything


@dataclass(frozen=True)
class Calibration:
    """factor: by which the members are spread; coverage: of the structures left out, with it."""

    factor: float
    coverage: Coverage

    def summary(self) -> dict[str, float]:
        """JSON-serialisable."""
        return {"factor": self.factor, **self.coverage.summary()}


def calibrate(
    weights: Array,
    groups: Sequence[Sequence[int]],
    data: Sequence[Labelled],
    row: Callable[[Frame], Array],
    optimism: float = 1.0,
) -> Calibration | None:
    """The factor, or None for too few energies.

    weights: (groups, groups, n), see `Validation.left_two_out`. row: a frame to its row (n,) of the energies' matrix.
    optimism: by which errors are multiplied, where structures took part in a choice although they were left out.
    """
    misses: list[float] = []
    jackknives: list[float] = []
    for k, group in enumerate(groups):
        for number in group:
            one = data[number]
            if one.energy is None:
                continue
            predictions = weights[k] @ row(one.frame)
            misses.append(predictions[k] - one.energy)
            jackknives.append(_jackknife(np.delete(predictions, k)))
    errors, spreads = optimism * np.array(misses), np.array(jackknives)
    told = spreads > 0  # a frame of which all is known exactly has none
    if told.sum() < FEWEST:
        return None
    factor = factor_of(np.abs(errors[told]) / spreads[told])
    return Calibration(factor, Coverage(errors[told], factor * spreads[told]))


def _jackknife(predictions: Array) -> float:
    count = len(predictions)
    return float(np.sqrt((count - 1) / count * ((predictions - predictions.mean()) ** 2).sum()))


def factor_of(ratios: Array) -> float:
    """Between the factors with which one and two standard deviations have the share that is expected of them."""
    found = [np.quantile(ratios, share) / width for width, share in SHARES]
    return float(np.sqrt(np.prod(found)))
