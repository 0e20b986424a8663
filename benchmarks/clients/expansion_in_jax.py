"""ace-jax in an environment of its own: `PYTHON expansion_in_jax.py MODEL POSITIONS` computes when it is told to.

A line on standard input moves the atoms of the extxyz file by 0.001 A and computes energy, forces and stress; a line
comes back. One core, so that XLA has one thread. Needs ace-jax and ASE, and nothing of this program.
"""

import os
import sys

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import ase.io  # noqa: E402 - JAX counts the cores when it is imported
import jax  # noqa: E402
import numpy as np  # noqa: E402

jax.config.update("jax_enable_x64", True)

from ace_jax import ACECalculator  # noqa: E402


def main(model: str, positions: str) -> None:
    atoms, rng = ase.io.read(positions), np.random.default_rng(0)
    calculator = ACECalculator(model)
    print(flush=True)
    for _ in sys.stdin:
        atoms.positions += 0.001 * rng.normal(size=atoms.positions.shape)
        calculator.calculate(atoms, ["energy", "forces", "stress"])
        print(flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
