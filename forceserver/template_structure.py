"""The template structure: which species, in which order, and which directions are periodic.

The i-PI protocol carries positions and a cell but no species, so every client must know them beforehand. Any file that
ASE reads will do, also the very file that i-PI starts from.
"""

from dataclasses import replace

from pydantic import Field

from .errors import InputError
from .frame import Frame
from .sections import InputFile, Section
from .structures import read_structure


class StructureConfig(Section):
    """Section [structure]: species in the order of the server, and periodicity."""

    file: InputFile = Field(description="any format that ASE reads; the last structure in it is taken")
    pbc: bool | tuple[bool, bool, bool] | None = Field(
        default=None,
        description="periodic directions; default: as in the file; all of them if it has a cell and does not say",
    )


def read_template(config: StructureConfig) -> Frame:
    """The last structure of the file as a `Frame` with masses (number and replica -1).

    Raises `InputError` if the file holds no structure, or the cell does not span the periodic directions.
    """
    try:
        atoms = read_structure(config.file, config.pbc)
    except InputError as error:
        raise InputError(f"structure {error}") from error
    return replace(Frame.from_ase(atoms), masses=atoms.get_masses())
