"""Whether bonds are as long and as stiff as bonds are, which tells labels and positions that are all in other units.

Labels that are all in kcal/mol or all in Hartree agree with one another, and no error of a fit shows it. But a bond has
a curvature, and so has the screened repulsion of two nuclei at the same distance (ZBL): for bonds up to 3 Angstrom they
are within a factor of about three of one another, in molecules, metals and salts. Likewise, some atoms of every
material are as close as their covalent radii say.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..elements import bond_length, symbols
from ..frame import Array, Frame
from ..models.pairs import screened_coulomb
from ..potentials.base import Potential
from ..representation.pairs import pairs_within
from .data import Labelled

STRUCTURES = 12
"""Of which the stiffest bond is stretched."""
LONGEST, OF_RADII = 3.0, 1.3
"""What counts as a bond: Angstrom, and in units of the sum of the radii. Longer ones of metals are stiffer than ZBL."""
STEP = 0.01
"""Angstrom by which a bond is stretched and compressed."""
SOFT, STIFF = 0.1, 6.0
"""Curvatures, in units of ZBL's, that bonds do not have. Hartree in place of eV makes 0.04 of 1, kcal/mol 23."""
FAR = 1.35
"""Shortest distance, in units of the sum of the radii, that materials do not have. Bohr make 1.9 of 1."""
FOLLOWED, SIZES = 0.87, (0.5, 3.0)
"""Correlation of the forces of a potential with their labels, and their size in units of these, for its bonds to say
anything of labels. Energies in Rydberg beside forces in Rydberg/Bohr make forces 1.9 times as large as their labels."""
NOBLE = frozenset({2, 10, 18, 36, 54, 86})


class Bond(NamedTuple):
    """Two atoms of a structure, their distance (Angstrom), its direction (3,) and ZBL's curvature (eV/Angstrom^2)."""

    first: int
    second: int
    length: float
    direction: Array
    repulsion: float


def unlike_lengths(shortest: Mapping[tuple[int, int], float]) -> str | None:
    """What people should know if no two atoms are as close as in a bond.

    Args:
        shortest: The shortest distance (Angstrom) of each pair of species in all structures.
    """
    lengths = {pair: float(r / bond_length(*pair)) for pair, r in shortest.items() if not NOBLE & set(pair)}
    if not lengths or min(lengths.values()) < FAR:
        return None
    pair = min(lengths, key=lengths.__getitem__)
    return (
        f"no atoms are closer than {lengths[pair]:.2g} times the sum of their covalent radii ({symbols(pair)}: "
        f"{shortest[pair]:.3g} Angstrom): are positions and cells in Bohr? They must be in Angstrom"
    )


def unlike_stiffness(potential: Potential, train: Sequence[Labelled]) -> str | None:
    """What people should know if bonds are much softer or stiffer in a fitted potential than bonds are.

    Energies alone may tell a fit little of curvatures, so only structures with forces count; and a potential that does
    not follow these has other faults.
    """
    labelled = [one for one in train if one.forces is not None]
    some = labelled[:: -(-len(labelled) // STRUCTURES) or 1]
    bonds = [(one.frame, bond) for one in some if (bond := _bond(one.frame))]
    if not bonds or not _follows(potential, some):
        return None
    found = [(_curvature(potential, frame, bond), frame, bond) for frame, bond in bonds]
    found.sort(key=lambda entry: entry[0] / entry[2].repulsion)
    curvature, frame, bond = found[len(found) // 2]
    if curvature < 0 or SOFT < curvature / bond.repulsion < STIFF:  # no unit makes it negative, but a single dimer may
        return None
    soft = curvature < bond.repulsion
    units = "Hartree or Rydberg (per Bohr)" if soft else "kcal/mol, kJ/mol or meV"
    still = ", or is nothing displaced from its equilibrium" if soft else ""
    pair = symbols(frame.species[[bond.first, bond.second]].tolist()).replace(", ", "-")
    return (
        f"bonds are {'softer' if soft else 'stiffer'} than bonds can be: {pair} of {bond.length:.2f} Angstrom has "
        f"{curvature:.2g} eV/Angstrom^2, and {bond.repulsion:.2g} would be usual. Are all labels in {units}{still}? "
        "They must be in eV and eV/Angstrom"
    )


def _bond(frame: Frame) -> Bond | None:
    """That of the steepest repulsion."""
    from ase.units import Bohr, Hartree

    i, j, r, vector = pairs_within(frame, LONGEST)
    bonded = (i != j) & (r < OF_RADII * bond_length(frame.species[i], frame.species[j]))
    if not bonded.any():
        return None
    i, j, r, vector = i[bonded], j[bonded], r[bonded], vector[bonded]
    repulsion = Hartree * Bohr * screened_coulomb(frame.species[i], frame.species[j], r)[2]
    n = repulsion.argmax()
    return Bond(int(i[n]), int(j[n]), float(r[n]), vector[n] / r[n], float(repulsion[n]))


def _follows(potential: Potential, train: Sequence[Labelled]) -> bool:
    """Whether a potential explains the forces of structures, but for a factor."""
    forces = np.concatenate([one.forces.ravel() for one in train if one.forces is not None])
    predicted = np.concatenate([potential.compute_one(one.frame).forces.ravel() for one in train])
    size = np.linalg.norm(predicted) / max(np.linalg.norm(forces), np.finfo(float).tiny)
    alike = predicted @ forces > FOLLOWED * np.linalg.norm(predicted) * np.linalg.norm(forces)
    return bool(alike and SIZES[0] < size < SIZES[1])


def _curvature(potential: Potential, frame: Frame, bond: Bond) -> float:
    """Minus the derivative of the force along a bond, of both of its atoms, eV/Angstrom^2."""
    ends = np.array([bond.first, bond.second])

    def force(stretch: float) -> float:
        positions = frame.positions.copy()
        positions[ends] += 0.5 * stretch * np.outer([-1, 1], bond.direction)
        forces = potential.compute_one(Frame(positions, frame.cell, frame.species, frame.pbc)).forces
        return float(0.5 * (forces[bond.second] - forces[bond.first]) @ bond.direction)

    return (force(-STEP) - force(STEP)) / (2 * STEP)
