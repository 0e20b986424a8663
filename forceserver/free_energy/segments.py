"""Runs that follow each other in one file, whose times begin again, and files of walkers that ran side by side."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..frame import Array


def segments(times: Array) -> NDArray[np.int64]:
    """The number of the run that each row belongs to, from 0: a new one begins where the time goes back."""
    return np.concatenate([[0], np.cumsum(np.diff(times) < 0)]).astype(np.int64)


def in_order_of_time(files: Sequence[Array]) -> NDArray[np.int64]:
    """The order of the rows of all files together: run by run, within a run by time, as they came.

    files: the times (n,) of each. Rows of one file keep their order.
    """
    numbers = np.concatenate([segments(times) if len(times) else np.empty(0, np.int64) for times in files])
    return np.lexsort((np.concatenate(list(files)), numbers))


def elapsed(times: Array) -> Array:
    """Times (n,) that go on where they would begin again: those of each run come after the end of the one before."""
    starts = np.flatnonzero(np.diff(times) < 0) + 1
    jumps = np.zeros(len(times))
    jumps[starts] = times[starts - 1] - times[starts]
    return times + np.cumsum(jumps)
