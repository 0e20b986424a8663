"""The memory layout that SIMD kernels read: rows padded to whole vectors, arrays that begin at a cache line."""

import numpy as np

from ..frame import Array

LANES = 8
"""float64 numbers in the widest vector."""

ALIGNMENT = 64


def round_to_lanes(n: int) -> int:
    """`n` rounded up to a multiple of `LANES`."""
    return -(-n // LANES) * LANES


def aligned_zeros(shape: tuple[int, ...]) -> Array:
    """Zeros (float64, C-contiguous) that begin at a multiple of 64 bytes."""
    size = int(np.prod(shape))
    buffer = np.zeros(size + LANES)
    start = -buffer.ctypes.data % ALIGNMENT // 8
    return buffer[start : start + size].reshape(shape)
