"""What a user wants of the grid of a free energy, instead of what the data suggest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..bias.coordinates import Coordinate
from ..bias.grid import Axis, why_too_large
from ..errors import InputError

LEAST_BINS = 2
"""Intervals of an axis; with one there is nothing between its ends."""


@dataclass(frozen=True)
class WantedGrid:
    """Ends and intervals of the axes, one number per variable; None: as the data suggest."""

    lower: Sequence[float] | None = None
    upper: Sequence[float] | None = None
    bins: Sequence[float] | None = None

    def applied(self, axes: Sequence[Axis], variables: Sequence[Coordinate]) -> list[Axis]:
        """The axes with these ends and intervals.

        Raises:
            InputError: the numbers do not fit the variables, or an axis is empty.
        """
        axes = list(axes)
        for key in ("lower", "upper", "bins"):
            values = getattr(self, key)
            if values is None:
                continue
            if len(values) != len(axes):
                raise InputError(f"--{key} has {len(values)} values for {len(axes)} variables")
            for k, value in enumerate(values):
                if key == "bins":
                    axes[k] = replace(axes[k], bins=_intervals(value))
                elif not variables[k].domain:  # the grid of a periodic variable is its domain
                    axes[k] = replace(axes[k], **{key: value})
        for axis, variable in zip(axes, variables, strict=True):
            if not axis.lower < axis.upper:
                raise InputError(f"the grid of {variable.name} goes from {axis.lower:g} to {axis.upper:g}: it is empty")
        if wrong := why_too_large([axis.bins + 1 for axis in axes]):
            bins = " x ".join(str(axis.bins) for axis in axes)
            raise InputError(f"the grid has {bins} intervals: {wrong}; ask for fewer (--bins)")
        return axes


def _intervals(number: float) -> int:
    if number < LEAST_BINS or number != int(number):
        raise InputError(f"--bins {number:g}: an axis has a whole number of intervals, at least {LEAST_BINS}")
    return int(number)
