"""Cubic Hermite interpolation: coefficients from values and derivatives, and where in an interval errors are largest.

On an interval of width h the error of a value is largest in the middle, h^4 |f''''| / 384; that of a derivative is
zero there to leading order, and largest at (3 - sqrt(3)) / 6 of the interval, sqrt(3) h^3 |f''''| / 216.
"""

import numpy as np

from ..frame import Array

MIDDLE = 0.5
FLANK = (3 - 3**0.5) / 6


def cubics(h: Array, values: Array, derivatives: Array, slope: Array | None = None) -> Array:
    """Coefficients (n, 4, ...) of the powers of t = x - x_i on n intervals of widths `h`.

    values, derivatives: (n + 1, ...) at the nodes.
    h: (n, ...), broadcast against them.
    slope: (n, ...), mean slopes, if they are known more accurately than from differences of the values.
    """
    if slope is None:
        slope = np.diff(values, axis=0) / h
    left, right = derivatives[:-1], derivatives[1:]
    return np.stack([values[:-1], left, (3 * slope - 2 * left - right) / h, (left + right - 2 * slope) / h**2], axis=1)
