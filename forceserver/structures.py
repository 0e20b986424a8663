"""Structures from files: everything that ASE reads, and what i-PI writes.

The format of a file decides who reads it: an xyz file is i-PI's if its comment line has a cell or a unit as i-PI writes
them, `# CELL(abcABC): 10 10 10 90 90 90 positions{angstrom} cell{angstrom}`, and neither `Lattice=` nor
`Properties=`, which make it an extended XYZ file.

The file determines what is periodic. A cell without such information is periodic, as in extended XYZ files and those of
i-PI. Labels of i-PI that ASE does not know become their element; their mass is kept.
"""

import codecs
import collections
import contextlib
import io
import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .elements import find_element, own_mass
from .errors import InputError
from .frame import any_singular
from .unclear_structures import (
    check_columns,
    check_comment,
    check_guesses,
    check_name,
    check_names,
    check_number,
    check_places,
    check_sites,
    check_types,
    units_of_dump,
)

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from ase import Atoms

    from .frame import Array

NO_CRYSTAL = [1, 1, 1, 90, 90, 90]
"""What the pdb format requires if there is no crystal."""

LATIN_1 = "forceserver.latin_1"
"""What decoding makes of bytes that are not UTF-8: letters from older programs, in names and comments."""


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(LATIN_1, _as_latin_1)

NARROW = 0.3
"""Angstrom; not even the shortest H-H of a scan fits into that. Forces and velocities in atomic units do, which CP2K
writes like positions."""

_PERIODIC = {"eon", "sys"}
"""Formats of programs whose cells are periodic, and not to ASE."""
_CONVERTED = {"runnerdata"}
"""Formats without units that ASE converts all the same."""

HEADER_LINES = 200
"""Within which a data file of LAMMPS gives its box."""
_LAMMPS_BOX = re.compile(r"^\s*[-+.\deE]+\s+[-+.\deE]+\s+xlo\s+xhi\b", re.MULTILINE)

_IPI_CELL = re.compile(r"CELL[(\[{](abcABC|H|GENH)[)\]}]: *[-+.\d]")
_IPI_UNIT = re.compile(r"\b(cell|positions|velocities|momenta|forces|[xvpf]_centroid)\w*\{[A-Za-z_]*\}")
_BOHR = re.compile(r"(?<![A-Za-z])bohrs?(?![A-Za-z])", re.IGNORECASE)
_EXTENDED = re.compile(r"\b(Lattice|Properties) *=")
_EMPTY = re.compile(r"""(?<!\S)([A-Za-z_][\w-]*)=(?:""|'')?(?=\s+[A-Za-z_][\w-]*=|\s*$)""")
"""A key without a value, which ASE writes for an empty text; its reader takes the next key with its value for that."""


def read_structures(path: Path) -> Iterator["Atoms"]:
    """The structures of a file, one after the other, in Angstrom, with whatever labels the file has.

    Raises `InputError`, naming the structure (counted from 0), if one cannot be read, has no atoms, has positions or a
    cell that are not finite, or is periodic along a direction that its cell does not span; also for an empty file.
    """
    with _told(path, ""):
        kind = format_of(path)
    source = _read(path, kind, last=False)
    for index in itertools.count():
        with _told(path, f" structure {index}"):
            atoms = next(source, None)
            if atoms is not None:
                _check(atoms)
        if atoms is None:
            break
        yield atoms
    if index == 0:
        raise InputError(f"{path}: {_nothing_in(kind)}")


def read_structure(path: Path, pbc: bool | Sequence[bool] | None = None) -> "Atoms":
    """The last structure of a file; raises as `read_structures`.

    pbc: periodic directions, whatever the file says.
    """
    with _told(path, ""):
        kind = format_of(path)
        atoms = next(_read(path, kind, last=True), None)
        if atoms is None:
            raise InputError(_nothing_in(kind))
        if pbc is not None:
            atoms.pbc = pbc
        _check(atoms)
    return atoms


@contextlib.contextmanager
def _told(path: Path, which: str) -> Iterator[None]:
    """Makes errors name their place."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}:{which} {error}") from error
    except Exception as error:  # ASE's readers raise nearly everything
        label = str(error.args[0]) if isinstance(error, KeyError) and error.args else ""
        hint = "; ASE does not know this label: write an xyz file" if find_element(label) is not None else ""
        raise InputError(f"{path}:{which} cannot be read: {type(error).__name__}: {error}{hint}") from error


def _check(atoms: "Atoms") -> None:
    if len(atoms) == 0:
        raise InputError("has no atoms")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise InputError("has positions or a cell that are not finite numbers")
    for axis, (periodic, length) in enumerate(zip(atoms.pbc, atoms.cell.lengths(), strict=True)):
        if periodic and length == 0:
            raise InputError(f"is periodic along {'abc'[axis]} but has no cell vector there")
    if any_singular(atoms.cell.array, atoms.pbc):
        raise InputError(f"has a singular cell: {atoms.cell.array.tolist()} Angstrom")
    check_sites(atoms)


def _read(path: Path, kind: str, last: bool) -> Iterator["Atoms"]:
    """All structures, or the last one only."""
    return (_read_ours if kind in _OURS else _read_by_ase)(path, kind, last)


def _nothing_in(kind: str) -> str:
    from ase.io.formats import ioformats

    return f"there is no structure in it (it was read as {kind}: {ioformats[kind].description})"


def format_of(path: Path) -> str:
    """ASE's name of the format, which it takes from the name of a file and its beginning."""
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats, open_with_compression

    kind = ""
    with contextlib.suppress(UnknownFileTypeError):
        kind = filetype(str(path))
    if kind in ioformats and kind != "runnerdata":  # which is what ASE takes every *.data for
        return kind
    with open_with_compression(str(path), "rb") as file:
        beginning = b"".join(itertools.islice(file, HEADER_LINES)).decode("latin-1")
    if _LAMMPS_BOX.search(beginning):
        return "lammps-data"
    if not beginning.strip():
        raise InputError("is empty")
    if kind not in ioformats:
        raise InputError("is in a format that ASE does not recognise; write another, such as extended XYZ (.extxyz)")
    return kind


def _read_by_ase(path: Path, kind: str, last: bool) -> Iterator["Atoms"]:
    import ase.io

    of_lammps = kind == "lammps-dump-text"
    units = units_of_dump(path) if of_lammps else None
    options: dict[str, Any] = {"units": units} if units else {}
    structures = ase.io.iread(path, index=-1 if last else ":", format=kind, do_not_split_by_at_sign=True, **options)
    for number, atoms in enumerate(structures):
        if of_lammps and atoms.calc is not None:
            atoms.calc.results.pop("energy", None)  # a dump has none, ASE makes it zero
            if number == 0 and not units:
                log.warning("%s: forces are read in eV/Angstrom; `dump_modify units yes` lets a dump say others", path)
        if kind in _PERIODIC and atoms.cell.rank == 3:
            atoms.pbc = True
        check_types(kind, path, atoms)
        if number == 0:
            check_guesses(kind, path, atoms)
            if kind in _CONVERTED:
                log.warning("%s is read in Bohr and Hartree, as RuNNer writes it; n2p2 leaves units open", path)
        yield atoms


def _read_ours(path: Path, kind: str, last: bool) -> Iterator["Atoms"]:
    from ase.io.formats import open_with_compression

    split, parse = _OURS[kind]
    with open_with_compression(str(path), "rb") as binary:
        file = io.TextIOWrapper(binary, encoding="utf-8-sig", errors=LATIN_1)
        frames = collections.deque(split(file), maxlen=1) if last else split(file)
        for number, lines in enumerate(frames):
            if number == 0 and kind == "extxyz" and (missing := _units_missing(lines)):
                log.warning("%s names no unit of its %s: atomic units, as i-PI reads it", path, " and ".join(missing))
            if number == 0 and kind == "extxyz":
                check_names(_labels(lines))
                if not _is_ipi(comment := "".join(lines[1:2])) and _BOHR.search(comment):
                    log.warning("%s speaks of Bohr: its positions and cell are read in Angstrom", path)
            yield parse(lines)


def _frames_of_xyz(file: IO[str]) -> Iterator[list[str]]:
    """The lines of each frame in turn; `VEC` lines are the cell in a variant of the format."""
    line = file.readline()
    while line:
        if not line.strip():  # between frames, or at the end
            line = file.readline()
            continue
        lines = [line, *itertools.islice(file, _announced(line) + 1)]
        line = file.readline()
        while line.lstrip().startswith("VEC"):
            lines.append(line)
            line = file.readline()
        yield lines


def _announced(line: str) -> int:
    """The number of atoms, from the first line of a frame."""
    with contextlib.suppress(ValueError):
        if (atoms := int(line)) >= 0:
            return atoms
    raise InputError(
        f"begins with {line.strip()[:60]!r}, must begin with its number of atoms: does the frame before it have as "
        "many lines as it says?"
    )


def _frames_of_pdb(file: IO[str]) -> Iterator[list[str]]:
    """The lines up to each `END` or `ENDMDL`; a cell before the first of several models applies to all."""
    lines: list[str] = []
    crystal: list[str] = []
    for line in itertools.chain(file, ["END\n"]):
        if line.startswith("CRYST1"):
            crystal = [line]
        elif line.startswith("END"):
            if _has_atoms(lines):
                yield [*crystal, *lines, line]
            lines = []
        else:
            lines.append(line)


def _has_atoms(lines: Iterable[str]) -> bool:
    return any(line.startswith(("ATOM", "HETATM")) for line in lines)


def _is_ipi(comment: str) -> bool:
    return not _EXTENDED.search(comment) and bool(_IPI_CELL.search(comment) or _IPI_UNIT.search(comment))


def _units_missing(lines: list[str]) -> list[str]:
    """The quantities for which a frame of i-PI's xyz file has no unit."""
    comment = "".join(lines[1:2])
    units = {unit[1] for unit in _IPI_UNIT.finditer(comment)}
    lacks = {"positions": not units - {"cell"}, "cell": "cell" not in units and _IPI_CELL.search(comment) is not None}
    return [what for what, missing in lacks.items() if missing and _is_ipi(comment)]


def _parse_xyz(lines: list[str]) -> "Atoms":
    comment = "".join(lines[1:2])
    if _is_ipi(comment):
        return _from_ipi(lines)
    said = _EMPTY.sub("", comment)
    check_comment(said)
    if said != comment:
        lines[1] = said
    atoms = _parse_labels(lines)
    span = float(np.linalg.norm(np.ptp(atoms.positions, axis=0))) if len(atoms) > 1 else np.inf
    if span < NARROW and not _EXTENDED.search(comment):
        raise InputError(
            f"has all its {len(atoms)} atoms within {span:.3g} Angstrom: are its positions forces or velocities, or in "
            "other units?"
        )
    return atoms


def _parse_labels(lines: list[str]) -> "Atoms":
    comment = "".join(lines[1:2])
    places, columns = _columns(comment) if _EXTENDED.search(comment) else ({"species": 0}, None)
    column, of_number = places.get("species"), places.get("Z", places.get("numbers"))
    unknown: dict[int, str] = {}
    if column is None:
        return _by_ase("extxyz", lines, unknown)
    for atom, line in enumerate(lines[2 : 2 + int(lines[0])]):
        words = line.split()
        if columns is not None and len(words) > columns:
            raise InputError(f"has {len(words)} columns in the line of atom {atom}, its Properties are {columns}")
        if len(words) <= column:
            raise InputError(f"has no label in the line of atom {atom}: {line.strip()!r}")
        if of_number is not None and len(words) > of_number:
            check_number(words[column], words[of_number], atom)
        if _is_unknown_to_ase(words[column].capitalize()):
            unknown[atom] = words[column]
            words[column] = _symbol(words[column], atom)
            lines[2 + atom] = " ".join(words) + "\n"
    return _by_ase("extxyz", lines, unknown)


def _labels(lines: list[str]) -> set[str]:
    """The labels of a frame that are elements to ASE."""
    comment = "".join(lines[1:2])
    places, _ = _columns(comment) if _EXTENDED.search(comment) else ({"species": 0}, None)
    column = places.get("species")
    if column is None or _is_ipi(comment):
        return set()
    return {words[column] for words in map(str.split, lines[2:]) if len(words) > column}


def _columns(comment: str) -> tuple[dict[str, int], int | None]:
    """In which word of an atom's line each column begins, and the number of words, if that is said."""
    from ase.io.extxyz import key_val_str_to_dict

    said = key_val_str_to_dict(comment).get("Properties")
    fields = str(said or "species:S:1:pos:R:3").split(":")
    names, widths = fields[::3], list(map(int, fields[2::3]))
    check_columns(names)
    places = [sum(widths[:column]) for column in range(len(names))]
    return dict(zip(names, places, strict=True)), sum(widths) if said else None


def _parse_pdb(lines: list[str]) -> "Atoms":
    """ASE takes the label from the columns of the element or, as i-PI writes it, from those of the name."""
    check_places(lines)
    unknown, atom = {}, -1
    for number, line in enumerate(lines):
        if line.startswith(("ATOM", "HETATM")):
            atom += 1
            check_name(line)
            label = line[76:78].strip() or line[12:16].strip()
            if _is_unknown_to_ase(label) and find_element(label) is not None:
                unknown[atom] = label
                lines[number] = f"{line.rstrip():80}"[:76] + f"{_symbol(label, atom):>2}  \n"
    atoms = _by_ase("proteindatabank", lines, unknown)
    if np.array_equal(atoms.cell.cellpar(), NO_CRYSTAL):
        atoms.cell, atoms.pbc = None, False
    title = " ".join(line.rstrip() for line in lines if line.startswith("TITLE"))
    if "{" in title:
        atoms.positions, atoms.cell = _in_angstrom(title, "pdb", atoms.positions, atoms.cell.array)
    return atoms


def _by_ase(kind: str, lines: list[str], unknown: dict[int, str]) -> "Atoms":
    import ase.io

    atoms: Any = ase.io.read(io.StringIO("".join(lines)), format=kind)
    _keep_masses(atoms, unknown)
    return atoms


def _is_unknown_to_ase(label: str) -> bool:
    from ase.data import atomic_numbers

    return label not in atomic_numbers


def _symbol(label: str, atom: int) -> str:
    from ase.data import chemical_symbols

    number = find_element(label)
    if number is None:
        raise InputError(f"has an atom {atom} called {label!r}, which is neither an element nor a label of i-PI")
    return chemical_symbols[number]


def _keep_masses(atoms: "Atoms", labels: dict[int, str]) -> None:
    """Gives atoms whose labels are not symbols of elements the masses of their labels."""
    masses = {atom: mass for atom, label in labels.items() if (mass := own_mass(label)) is not None}
    if masses and not atoms.has("masses"):
        every = atoms.get_masses()
        every[list(masses)] = list(masses.values())
        atoms.set_masses(every)


def _from_ipi(lines: list[str]) -> "Atoms":
    from ase import Atoms
    from ipi.utils.io.backends.io_xyz import read_xyz

    with contextlib.redirect_stdout(io.StringIO()):  # where i-PI complains of labels without a mass
        comment, cell, positions, labels, _ = read_xyz(iter(lines))
    if len(lines) < 2 + len(labels):
        raise ValueError(f"{len(lines) - 2} atoms, {len(labels)} announced")
    positions, cell = _in_angstrom(comment, "xyz", positions.reshape(-1, 3), cell.T)
    symbols = [_symbol(str(label), atom) for atom, label in enumerate(labels)]
    known = _IPI_CELL.search(comment) is not None
    atoms = Atoms(symbols, positions=positions, cell=cell if known else None, pbc=known)
    _keep_masses(atoms, dict(enumerate(map(str, labels))))
    return atoms


_OURS = {"extxyz": (_frames_of_xyz, _parse_xyz), "proteindatabank": (_frames_of_pdb, _parse_pdb)}
"""What is not left to ASE: for each format, how a file is split into frames, and how a frame is read."""


def _in_angstrom(comment: str, mode: str, positions: "Array", cell: "Array") -> tuple["Array", "Array"]:
    """Converts from the units in i-PI's comment; without one, units of an xyz file are atomic, as in i-PI."""
    from ipi.utils.io.io_units import auto_units

    dimension, unit, cell_unit = auto_units(comment, mode=mode)
    if dimension not in ("length", "undefined"):
        raise InputError(f"holds no positions; its comment says {comment.strip()!r}")
    return positions * _angstrom(unit), cell * _angstrom(cell_unit)


def _angstrom(unit: str) -> float:
    """How many Angstrom a unit of i-PI is. (Its own Angstrom is 7e-8 off, which cancels when it reads a file.)"""
    from ase.units import Bohr
    from ipi.utils.units import unit_to_internal

    return 1.0 if unit == "angstrom" else unit_to_internal("length", unit, 1.0) * Bohr
