"""Times of potentials that are compared: one after the other, many times, so that all see the same machine."""

import time
from collections.abc import Mapping

import numpy as np

from forceserver._ext import cpu
from forceserver.frame import Array, Frame
from forceserver.potentials.base import Potential

PAIRS = 41


def microseconds(potentials: Mapping[str, Potential], frame: Frame) -> dict[str, Array]:
    """CPU times per atom of energy, forces and virial on one thread: (PAIRS,) for each, while the atoms move."""
    cpu.set_threads(1)
    rng, at_rest = np.random.default_rng(0), frame.positions.copy()
    taken: dict[str, list[float]] = {name: [] for name in potentials}
    for _ in range(PAIRS):
        frame.positions[:] = at_rest + rng.normal(scale=0.01, size=at_rest.shape)
        for name, potential in potentials.items():
            start = time.process_time()
            potential.compute_one(frame)
            taken[name].append(1e6 * (time.process_time() - start) / len(frame))
    return {name: np.array(times) for name, times in taken.items()}
