"""How a configuration is recognised: by four fixed random projections of its positions and cell.

They are compared with a tolerance, since engines round positions in their checkpoints (i-PI: to nine digits, unless
told otherwise).
"""

from functools import lru_cache

import numpy as np

from ...frame import Array, Frame

LENGTH = 4
"""How many numbers a fingerprint has."""

CLOSE = 3e-7
"""Configurations whose fingerprints differ by less (Angstrom) are the same."""

UNKNOWN = np.full(LENGTH, np.nan)
"""The fingerprint of an unrecognisable configuration: equal to none."""


@lru_cache(maxsize=4)
def _projections(coordinates: int) -> Array:
    return np.random.default_rng(1).standard_normal((LENGTH, coordinates)) / np.sqrt(coordinates)


def fingerprint_of(frame: Frame) -> Array:
    """The fingerprint (4,) of a configuration, Angstrom."""
    projections, n = _projections(frame.positions.size + 9), frame.positions.size
    return projections[:, :n] @ frame.positions.reshape(-1) + projections[:, n:] @ frame.cell.reshape(-1)
