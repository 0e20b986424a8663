"""Whether environments differ by more than rounding, which every statistic of them takes for granted.

Those of a perfect crystal do not: their features differ in the last bits, of which a fit would make directions.
"""

import numpy as np

from ..frame import Array

ROUNDING = 1e-6
"""Scatter relative to the size of features that positions rounded in a file make."""


def alike(features: Array) -> bool:
    """Whether features (n, F) are the same in all rows but for rounding."""
    return bool(np.linalg.norm(features - features.mean(axis=0)) <= ROUNDING * np.linalg.norm(features))
