"""The two data types that pass through the program: `Frame` comes in, `Result` goes out.

One unit system is used internally: eV, Angstrom, cell vectors as rows (ASE conventions). Atomic units exist only in
the codec of i-PI's protocol, PLUMED's units only in the PLUMED adapter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, shortened

if TYPE_CHECKING:
    from ase import Atoms

Array = NDArray[np.float64]

PERIODIC = np.ones(3, dtype=bool)
PERIODIC.flags.writeable = False


def any_singular(cells: Array, pbc: NDArray[np.bool_]) -> bool:
    """Whether any of the cells (..., 3, 3) has periodic vectors that are zero or (nearly) linearly dependent."""
    periodic = cells[..., pbc, :]
    with np.errstate(all="ignore"):
        directions = periodic / np.linalg.norm(periodic, axis=-1, keepdims=True)
        squared_volumes = np.linalg.det(directions @ np.swapaxes(directions, -1, -2))
    return not (squared_volumes > 1e-20).all()


ARRAYS = {
    "species": "an integer array (N,) of atomic numbers",
    "positions": "a float64 array (N, 3) in Angstrom, one row for each of the species",
    "cell": "a float64 array (3, 3) in Angstrom, cell vectors as rows",
    "pbc": "a bool array (3,)",
}
"""What a frame is made of, for messages."""


def _refused(name: str, value: object) -> str:
    """The message for something that cannot be an array of a frame."""
    what = f"of shape {value.shape}, {value.dtype}" if isinstance(value, np.ndarray) else f"= {shortened(value, 60)}"
    return f"Frame: {name} {what}; it should be {ARRAYS[name]} (Frame.of makes a frame from ASE's Atoms)"


ATTRIBUTES = ("initial_charges", "initial_magmoms", "tags")
"""Columns of ASE that some calculators read."""


@dataclass(frozen=True, slots=True, eq=False)
class Attributes:
    """What a structure says beyond its atoms, for ASE calculators that ask for it.

    Attributes:
        arrays: charges and magnetic moments to begin with, and tags, each (N, ...), by ASE's name.
        info: ASE's `info`: the total charge, the spin multiplicity, the head of a network, ...
    """

    arrays: Mapping[str, NDArray]
    info: Mapping[str, Any]

    @classmethod
    def of(cls, atoms: "Atoms") -> "Attributes | None":
        """Copies the attributes of an ASE `Atoms`; None if it has none.

        Args:
            atoms: the structure.

        Returns:
            The attributes; columns that are zero everywhere are what ASE assumes anyway, and are left out.
        """
        given = {name: atoms.arrays[name] for name in ATTRIBUTES if atoms.has(name)}
        arrays = {name: array.copy() for name, array in given.items() if array.any()}
        return cls(arrays, dict(atoms.info)) if arrays or atoms.info else None

    def give_to(self, atoms: "Atoms") -> None:
        """Sets the attributes of an ASE `Atoms`.

        Args:
            atoms: a structure with as many atoms; it gets copies.
        """
        for name, array in self.arrays.items():
            atoms.set_array(name, array)
        atoms.info.update(self.info)


@dataclass(slots=True)
class Frame:
    """One atomic configuration of N atoms; `len(frame)` is N. `Frame.of(atoms)` makes one from ASE's `Atoms`.

    Attributes:
        positions: (N, 3) float64, Angstrom, C-contiguous; may lie outside the cell.
        cell: (3, 3) float64, Angstrom, vectors as rows; ignored along directions that are not periodic.
        species: (N,) int32, atomic numbers.
        pbc: (3,) bool, the periodic directions.
        replica: index of the bead or replica, for messages; -1 if unknown.
        number: running number of the structure, for messages; -1 if unknown. A driver counts what it is given from 0,
            and counts again what it is given again; in a file it is the place.
        masses: (N,) float64, amu; set in templates, otherwise None.
        attributes: what ASE calculators may want to know besides, as the file of the structure or template says.

    Raises:
        InputError: an array has another shape or type.
    """

    positions: Array
    cell: Array
    species: NDArray[np.int32]
    pbc: NDArray[np.bool_] = field(default_factory=lambda: PERIODIC)
    replica: int = -1
    number: int = -1
    masses: Array | None = None
    attributes: Attributes | None = None

    def __post_init__(self) -> None:
        atoms = np.shape(self.species)[:1]
        for name, shape, kind in (
            ("species", atoms, "iu"),
            ("positions", (*atoms, 3), "f"),
            ("cell", (3, 3), "f"),
            ("pbc", (3,), "b"),
        ):
            array = getattr(self, name)
            if not (isinstance(array, np.ndarray) and array.shape == shape and array.dtype.kind in kind):
                raise InputError(_refused(name, array))

    def __len__(self) -> int:
        return len(self.species)

    @classmethod
    def from_ase(cls, atoms: "Atoms", replica: int = -1, number: int = -1) -> "Frame":
        """Copies positions, cell, species, periodicity and attributes from an ASE `Atoms`.

        Args:
            atoms: the structure.
            replica: index of the bead or replica.
            number: running number of the structure.

        Returns:
            The frame; it shares no array with `atoms`.
        """
        return cls(
            positions=np.array(atoms.positions, dtype=np.float64, order="C"),
            cell=np.array(atoms.cell.array, dtype=np.float64, order="C"),
            species=atoms.numbers.astype(np.int32),
            pbc=np.array(atoms.pbc, dtype=bool),
            replica=replica,
            number=number,
            attributes=Attributes.of(atoms),
        )

    @classmethod
    def of(cls, structure: "Frame | Atoms") -> "Frame":
        """Converts a structure to a frame if necessary.

        Args:
            structure: a `Frame`, returned unchanged, or an ASE `Atoms`, which is copied.

        Returns:
            The frame.

        Raises:
            InputError: it is neither.
        """
        if isinstance(structure, Frame):
            return structure
        if not hasattr(structure, "positions"):
            raise InputError(
                f"{shortened(structure)} is not a structure (ASE Atoms or Frame): ase.io.read makes one from a file"
            )
        return cls.from_ase(structure)

    def to_ase(self) -> "Atoms":
        """Converts the frame to ASE.

        Returns:
            An ASE `Atoms` with copies of species, positions, cell and periodicity.
        """
        from ase import Atoms

        return Atoms(numbers=self.species, positions=self.positions, cell=self.cell, pbc=self.pbc)


@dataclass(slots=True)
class Result:
    """The result of a potential for one frame of N atoms.

    Attributes:
        energy: eV.
        forces: (N, 3) float64, eV/Angstrom, minus the derivative of the energy with respect to the positions.
        virial: (3, 3) float64, eV, symmetric: minus the derivative of the energy with respect to a strain applied to
            positions and cell, r -> r (1 + strain). It is not divided by the volume: stress = -virial / volume.
        extras: JSON-serialisable values (numbers, strings, lists, numpy arrays) sent to the server with the result.
    """

    energy: float
    forces: Array
    virial: Array = None  # type: ignore[assignment]  # one that was forgotten is told by whoever takes the result
    extras: dict[str, Any] = field(default_factory=dict)
