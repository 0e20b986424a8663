"""The template structure: which species, in which order, and which directions are periodic.

The i-PI protocol carries positions and a cell but no species, so every client must know them beforehand. Any file that
ASE reads will do, also the very file that i-PI starts from.
"""

from pathlib import Path

import numpy as np
from pydantic import Field

from .config import InputFile, Section
from .errors import InputError
from .frame import Frame, any_singular


class StructureConfig(Section):
    """Section [structure]: species in the order of the server, and periodicity."""

    file: InputFile = Field(description="any format that ASE reads; the last structure in it is taken")
    pbc: bool | tuple[bool, bool, bool] | None = Field(
        default=None, description="periodic directions; default: what the file says, periodic if it has a cell"
    )


def read_template(config: StructureConfig) -> Frame:
    """The structure of the file as a `Frame` (step and replica -1).

    Raises `InputError` if the file holds no structure, or the cell does not span the periodic directions.
    """
    atoms = read_structure(config.file)
    if config.pbc is not None:
        atoms.pbc = config.pbc
    elif atoms.cell.rank == 3 and not atoms.pbc.any():
        atoms.pbc = True
    lengths = atoms.cell.lengths()
    for axis, (periodic, length) in enumerate(zip(atoms.pbc, lengths, strict=True)):
        if periodic and length == 0:
            raise InputError(f"structure {config.file}: direction {'abc'[axis]} is periodic but has no cell vector")
    if any_singular(atoms.cell.array, atoms.pbc):
        raise InputError(f"structure {config.file}: its cell is singular: {atoms.cell.array.tolist()} Angstrom")
    if not np.isfinite(atoms.positions).all():
        raise InputError(f"structure {config.file}: positions are not finite numbers")
    return Frame.from_ase(atoms)


def read_structure(path: Path):
    """The last structure in a file as ASE `Atoms`; i-PI's own xyz (comment `# CELL(abcABC): ...`) is understood too."""
    import ase.io

    try:
        if _is_ipi_xyz(path):
            return _read_ipi_xyz(path)
        atoms = ase.io.read(path)
    except Exception as error:  # ASE's readers raise nearly everything
        raise InputError(f"structure {path}: ASE cannot read it: {type(error).__name__}: {error}") from error
    if len(atoms) == 0:
        raise InputError(f"structure {path}: no atoms in it")
    return atoms


def _is_ipi_xyz(path: Path) -> bool:
    if path.suffix != ".xyz":
        return False
    with open(path, errors="replace") as file:
        file.readline()
        comment = file.readline()
    return any(word in comment for word in ("CELL(", "CELL{", "GENH", "CELL["))


def _read_ipi_xyz(path: Path):
    from ase import Atoms
    from ase.units import Bohr
    from ipi.utils.io import read_file

    last = None
    with open(path) as file:
        while True:
            try:
                last = read_file("xyz", file)
            except EOFError:
                break
    if last is None:
        raise ValueError("no structure in it")
    atoms = last["atoms"]
    return Atoms(
        symbols=list(atoms.names),
        positions=atoms.q.reshape(-1, 3) * Bohr,
        cell=np.asarray(last["cell"].h).T * Bohr,
        pbc=True,
    )
