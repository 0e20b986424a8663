"""Constraints of ASE, as programs save them that fix atoms (VASP's selective dynamics, FHI-aims, ...)."""

from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from ase import Atoms


def fixed_by(atoms: "Atoms") -> frozenset[int]:
    """Degrees of freedom that constraints fix: 3 i, 3 i + 1, 3 i + 2 of atom i; those along cell vectors left out."""
    from ase.constraints import FixAtoms, FixCartesian

    fixed: set[int] = set()
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms | FixCartesian):
            axes = np.flatnonzero(constraint.mask) if isinstance(constraint, FixCartesian) else range(3)
            fixed.update(3 * int(atom) + int(axis) for atom in constraint.get_indices() for axis in axes)
    return frozenset(fixed)


def check_expressible(atoms: "Atoms") -> None:
    """`InputError` if i-PI cannot fix what the constraints fix: whole atoms, and single coordinates in its own axes."""
    from ase.constraints import FixAtoms, FixCartesian

    turned = abs(np.triu(atoms.cell.array, 1)).max() > 0  # then i-PI turns the structure
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms) or (isinstance(constraint, FixCartesian) and not turned):
            continue
        raise InputError(
            f"the structure has a constraint {type(constraint).__name__}, which i-PI does not have in these "
            "axes: remove it, or fix whole atoms"
        )
