"""Writes cubic_2.extxyz to cubic_4.extxyz: n x n x n cells of BaTiO3 in a cubic box, displaced along [111]."""

from ase import Atoms
from ase.io import write

LATTICE = 4.00  # Angstrom
ALONG_111 = {"Ba": 0.20, "Ti": 0.76, "O": -0.21}  # of the local mode; O along the chain of Ti: -0.53
AMPLITUDE = 0.10  # Angstrom


def cell() -> Atoms:
    """One rhombohedrally displaced cell in a cubic box: Ba, Ti, and O between Ti along x, y, z."""
    atoms = Atoms(
        "BaTiO3",
        scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
        cell=[LATTICE] * 3,
        pbc=True,
    )
    shift = AMPLITUDE / 3**0.5
    for atom in atoms:
        atom.position += shift * ALONG_111[atom.symbol]
    for axis, oxygen in enumerate((2, 3, 4)):
        atoms.positions[oxygen, axis] += shift * (-0.53 + 0.21)
    return atoms


if __name__ == "__main__":
    for n in 2, 3, 4:
        write(f"cubic_{n}.extxyz", cell().repeat(n))
