"""Writes rhombohedral_n.extxyz (n = 2, 3, 4) and tetragonal_4.extxyz: n x n x n cells of BaTiO3 in a cubic box."""

import numpy as np
from ase import Atoms
from ase.io import write

LATTICE = 4.00  # Angstrom
LOCAL_MODE = {"Ba": 0.20, "Ti": 0.76, "O": -0.21}  # O along its chain of Ti: -0.53 (King-Smith and Vanderbilt 1994)
AMPLITUDE = 0.10  # Angstrom


def cell(direction: tuple[int, int, int]) -> Atoms:
    """One cell displaced along `direction`: Ba, Ti, and O between Ti along x, y, z."""
    atoms = Atoms(
        "BaTiO3",
        scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
        cell=[LATTICE] * 3,
        pbc=True,
    )
    mode = np.array([[LOCAL_MODE[symbol]] * 3 for symbol in atoms.symbols])
    mode[[2, 3, 4], [0, 1, 2]] = -0.53
    atoms.positions += AMPLITUDE * mode * direction / np.linalg.norm(direction)
    return atoms


if __name__ == "__main__":
    for n in 2, 3, 4:
        write(f"rhombohedral_{n}.extxyz", cell((1, 1, 1)).repeat(n))
    write("tetragonal_4.extxyz", cell((0, 0, 1)).repeat(4))
