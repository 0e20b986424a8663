"""Errors of averages of correlated rows: how long they remember, and the blocks that follow from it."""

import numpy as np

from ..frame import Array

MOST_BLOCKS, FEWEST_BLOCKS = 50, 5
"""Fewer blocks have no error worth its name; more than the first number do not make it better."""

CANDIDATES = 20
"""How many beginnings are tried for what is best left out."""

ROWS_OF_MEMORY = 5
"""Length of a block in units of the statistical inefficiency: the correlation of neighbouring blocks is then small."""


def statistical_inefficiency(series: Array) -> float:
    """How many rows of a series (n,) count as one: 1 + 2 sum of its autocorrelation, at least 1.

    The sum ends at the window of Sokal (A. Sokal, Monte Carlo Methods in Statistical Mechanics, 1996): the first lag
    that is five times the sum so far. inf for a series that does not forget within a quarter of its length.
    """
    n = len(series)
    x = series - series.mean()
    if n < 4 or not np.any(x):
        return 1.0
    spectrum = np.fft.rfft(x, 2 * n)
    correlation = np.fft.irfft(spectrum * np.conj(spectrum))[:n]
    correlation /= correlation[0]
    sums = 2 * np.cumsum(correlation) - 1
    ends = np.flatnonzero(np.arange(n) >= 5 * sums)
    if not len(ends) or ends[0] > n // 4:
        return np.inf
    return max(float(sums[ends[0]]), 1.0)


def number_of_blocks(series: Array) -> int:
    """Into how many blocks rows (n, k) may be cut so that these are independent in all k series; 0 if they never are.

    At most `MOST_BLOCKS`; 0 stands for fewer than `FEWEST_BLOCKS`.
    """
    memory = max(statistical_inefficiency(column) for column in series.T)
    blocks = int(min(len(series) / (ROWS_OF_MEMORY * memory), MOST_BLOCKS))
    return blocks if blocks >= FEWEST_BLOCKS else 0


def error_of_mean(values: Array, blocks: int) -> float:
    """The standard error of the mean of values (n,), from this many blocks of equal length."""
    means = [part.mean() for part in np.array_split(values, blocks)]
    return float(np.std(means, ddof=1) / blocks**0.5)


def effective_size(series: Array, weights: Array) -> float:
    """How many independent rows of equal weight those of series (n, k) with weights (n,) stand for.

    Kish's size (sum w)^2 / sum w^2, divided by the largest statistical inefficiency of the series; 0 if one of them
    does not forget.
    """
    memory = max(statistical_inefficiency(column) for column in series.T)
    return float(weights.sum() ** 2 / np.sum(weights**2) / memory)


def transient(series: Array, weights: Array) -> int:
    """How many rows at the beginning are best left out: as many as make the effective size of the rest largest.

    series: (n, k). weights: (n,). At most half of the rows (J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016),
    for rows of unequal weight).
    """
    starts = np.unique(np.linspace(0, len(series) // 2, CANDIDATES + 1).astype(int))
    sizes = [effective_size(series[start:], weights[start:]) for start in starts]
    return int(starts[int(np.argmax(sizes))])
