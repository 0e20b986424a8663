"""What ASE's readers accept although the file does not say it: elements, positions, a cell, or which atom is where.

They then guess without a word: types of LAMMPS become atomic numbers, atoms without positions lie at the origin, a cell
under another name is ignored, and sites shared by several elements get the first of them.
"""

import itertools
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .elements import find_element, own_mass
from .errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

log = logging.getLogger(__name__)

_NUMBERED = re.compile(r"[A-Z][A-Za-z]?\d+[A-Z]?")
_CAPITALS = frozenset({"CL", "CO", "CR", "CS", "CU", "NI", "PT", "SC", "SE", "SI", "SN", "SR"})
"""Elements in capitals that are no names of atoms in molecules."""
_RESIDUE = re.compile(
    "ALA|ARG|ASN|ASP|CYS|GLN|GLU|GLY|HIS|ILE|LEU|LYS|MET|PHE|PRO|SER|THR|TRP|TYR|VAL|HOH|WAT|D?[ACGTU]"
)

SHARE = 1e-3
"""By how much the occupancies of a site may miss 1."""

ALTERNATIVE = 16
"""Column of a line of a pdb file that names one of several places of an atom."""

_MISSPELT = re.compile(
    r"\b((?i:lattice)|(?i:properties)|(?i:pbc)|cell)\s*=\s*[\"'{\[]*\s*([-+.\d]|[TF]\b|(?i:true|false)\b|\w+:[SRIL]:\d)"
)
_SPELT = ("Lattice", "Properties", "pbc")
_PERIODIC = re.compile(r"(?:^|\s)pbc\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|[\[{]([^\]}]*)[\]}]|(\S+))")
_IN_OTHER_LENGTHS = re.compile(
    r"\b((?:(?:length|distance|position|pos|coordinate|coord|cell|lattice)s?_?)?units?|lengths?|positions|coordinates)"
    r"\s*=\s*[\"']?(bohr|atomic\w*|a\.?u\.?|nm|nanomet\w+|pm|electron)(?![\w.])",
    re.IGNORECASE,
)
_SAID = re.compile(
    r"(?<![\w-])([A-Za-z_][\w-]*)\s*=\s*(\"(?:[^\"\\]|\\.)*\"|'[^']*'|\{[^{}]*\}|\[[^\[\]]*\]|[^\s\"'{\[]+)"
)
"""A key with its value in the comment of an extended XYZ file."""
_TRUTHS = frozenset({"t", "f", "true", "false", "0", "1"})
_POSITIONS, _ELEMENTS = {"pos", "positions"}, {"species", "symbols", "Z", "numbers"}
_LAMMPS = {
    "lammps-dump-text": ("ITEM: ATOMS.*[ ](element|mass)\\b", "a column `element` (dump_modify ... element Al Cu)"),
    "lammps-data": ("Masses\\b|Atom Type Labels\\b", "a section Masses"),
}
"""For each format of LAMMPS how a line begins that tells elements, and what to add to a file without one."""


def check_comment(comment: str) -> None:
    """`InputError` if the comment of an xyz file has a cell, columns, periodicity or lengths that ASE does not read, or
    two values for one key, of which ASE reads the last."""
    for name, _ in _MISSPELT.findall(comment):
        if name in _SPELT or (name == "cell" and "Lattice" in comment):
            continue
        right = next((word for word in _SPELT if word.lower() == name.lower()), "Lattice")
        raise InputError(f"has {name}= in its comment, which ASE ignores in extended XYZ: write {right}=")
    if found := _IN_OTHER_LENGTHS.search(comment):
        raise InputError(
            f"says {found[1]} = {found[2]}, which ASE ignores: positions and cell are read in Angstrom; convert them, "
            "and change its words"
        )
    for said in filter(None, itertools.chain(*_PERIODIC.findall(comment))):
        words = re.split(r"[\s,]+", said.strip().lower())
        if len(words) not in (1, 3) or not _TRUTHS.issuperset(words):
            raise InputError(
                f'has pbc="{said}", and ASE takes any other word for true: write T or F for each direction'
            )
    values: dict[str, str] = {}
    for name, value in _SAID.findall(comment):
        if values.setdefault(name, value) != value:
            raise InputError(f"has {name}={values[name]} and {name}={value} in its comment: remove one of them")


def check_columns(names: Sequence[str]) -> None:
    """`InputError` if the columns of an extended XYZ file hold no positions or no elements."""
    for what, known in (("positions", _POSITIONS), ("elements", _ELEMENTS)):
        if not known & set(names):
            wanted = "pos" if what == "positions" else "species"
            raise InputError(f"has no column of {what} ({wanted}); its Properties are {', '.join(names)}")


def check_number(label: str, number: str, atom: int) -> None:
    """`InputError` if the columns of the label and of the atomic number of an atom differ: ASE takes the number."""
    element = find_element(label.capitalize())
    if element is not None and number.isdecimal() and int(number) != element:
        raise InputError(
            f"has an atom {atom} called {label} whose atomic number is {number}: remove one of the columns"
        )


def check_names(labels: Collection[str]) -> None:
    """Finds names of atoms (CA is a carbon, HO a hydrogen of proteins) in an xyz file, which ASE takes for elements.

    `InputError` if other labels show that they are names (C1, H2A); a warning if they may be elements in capitals,
    beside their first letters: N, CA, C and O are a backbone, or a calcium carbonate.
    """
    doubtful = sorted(label for label in labels if _may_be_name(label))
    names = sorted(label for label in labels if _NUMBERED.fullmatch(label) and own_mass(label) is None)
    if not doubtful:
        return
    read = f"{', '.join(doubtful)} would be read as {', '.join(map(str.capitalize, doubtful))}"
    if names:
        raise InputError(
            f"has names of atoms ({', '.join(names[:3])}) in place of elements, and {read}: write elements"
        )
    if told := [label for label in doubtful if label[0] in labels]:
        elements = ", ".join(map(str.capitalize, told))
        log.warning("labels %s are read as the elements %s, not as names of atoms", ", ".join(told), elements)


def check_name(line: str) -> None:
    """`InputError` if a line of a pdb file without an element has a name that ASE would take for another element.

    Elements are in columns 77 and 78. Without them, the name tells: by the rules of the format, an element of one
    letter is in column 14 (" CA ", a carbon), one of two in 13 and 14 ("CA  ", calcium); i-PI writes to the right.
    """
    name, residue = line[12:16], line[17:20].strip()
    label = name.strip()
    if line[76:78].strip() or not _may_be_name(label) or name.startswith("  "):
        return
    if name.startswith(" ") or _RESIDUE.fullmatch(residue):
        raise InputError(
            f"has an atom named {label} and no element in columns 77 and 78: it would be read as {label.capitalize()}; "
            "add elements"
        )


def check_guesses(kind: str, path: Path, atoms: "Atoms") -> None:
    """`InputError` if ASE takes names of atoms by their first letter, and they may be elements of two: NA, CL, ZN.

    In a GROMACS file, those that are common names (CA, HO) are taken as such unless their residue is called alike.
    """
    from ase.data import atomic_numbers

    for label, symbol, residue in _guesses(kind, path, atoms):
        letters = _letters(label)
        element = letters[:2].capitalize()
        if not letters or symbol in (element, letters):
            continue
        is_ion = residue is not None and _letters(residue) == letters  # NA, CLA, SOD
        may_be_element = element in atomic_numbers and (residue is None or not _may_be_name(letters[:2]))
        if is_ion or may_be_element or (symbol and symbol != letters[0]):
            taken = f"would be read as {symbol}" if symbol else "would be read by its first letter"
            raise InputError(f"has an atom called {label}, which {taken}: write elements, in extended XYZ")


def _guesses(kind: str, path: Path, atoms: "Atoms") -> Iterator[tuple[str, str, str | None]]:
    """Label, ASE's element ("" if that is not known) and residue (None if there are none) of atoms in such formats."""
    if kind == "gromacs":
        yield from zip(atoms.arrays["atomtypes"], atoms.symbols, atoms.arrays["residuenames"], strict=True)
    elif kind == "dlp4" and atoms.has("dlp4_labels"):
        rests = atoms.arrays["dlp4_labels"]
        yield from ((symbol + rest, symbol, None) for rest, symbol in zip(rests, atoms.symbols, strict=True))
    elif kind == "cif":
        from ase.io.cif import parse_cif
        from ase.io.formats import open_with_compression

        file: Any
        with open_with_compression(str(path), "rt") as file:
            blocks = list(parse_cif(file))
        for block in blocks:
            if block.get("_atom_site_type_symbol") is None:
                labels = map(str, block.get("_atom_site_label") or ())
                yield from ((label, "", None) for label in labels if label[1:2].isupper())


def _letters(label: str) -> str:
    """Those at the beginning of a label, as capitals."""
    return re.split("[^A-Z]", label.upper(), maxsplit=1)[0]


def _may_be_name(label: str) -> bool:
    """Whether a label of two capitals may be the name of an atom of an organic molecule as well as an element."""
    from ase.data import atomic_numbers

    return (
        len(label) == 2
        and label.isupper()
        and label not in _CAPITALS
        and label[0] in "CHNOPS"
        and label.capitalize() in atomic_numbers
    )


def check_places(lines: Iterable[str]) -> None:
    """`InputError` if a pdb file has several places for one atom."""
    names = {line[ALTERNATIVE : ALTERNATIVE + 1] for line in lines if line.startswith(("ATOM", "HETATM"))}
    alternatives = sorted(names - {" ", "\n", ""})
    if len(alternatives) > 1:
        raise InputError(f"has alternative locations {', '.join(alternatives)} of atoms (column 17): keep one of them")


def check_sites(atoms: "Atoms") -> None:
    """`InputError` if a crystal has sites that are partly occupied, or shared by several elements."""
    sites = atoms.info.get("occupancy")
    for site in sites.values() if isinstance(sites, Mapping) else ():
        if isinstance(site, Mapping) and (len(site) > 1 or abs(sum(site.values()) - 1) > SHARE):
            shares = ", ".join(f"{share:g} {symbol}" for symbol, share in site.items())
            raise InputError(f"is disordered: a site is occupied by {shares}; choose an atom for each site")


def check_types(kind: str, path: Path, atoms: "Atoms") -> None:
    """`InputError` if a LAMMPS file does not tell the elements of its types, which become atomic numbers or nothing."""
    if kind not in _LAMMPS or not atoms.has("type"):
        return
    if (unknown := np.flatnonzero(atoms.numbers == 0)).size:
        of_none = f"a mass of {atoms.get_masses()[unknown[0]]:g}" if atoms.has("masses") else "none"
        raise InputError(f"has atoms of type {atoms.arrays['type'][unknown[0]]} whose element is unknown: {of_none}")
    if (atoms.arrays["type"] != atoms.numbers).any():
        return
    from ase.io.formats import open_with_compression

    beginning, remedy = _LAMMPS[kind]
    tells = re.compile(rf"\s*({beginning})")
    file: Any
    with open_with_compression(str(path), "rt") as file:
        if not any(map(tells.match, file)):
            raise InputError(f"names no elements: its types would be taken for atomic numbers (1 is H); add {remedy}")


def units_of_dump(path: Path) -> str | None:
    """LAMMPS's name of the units of a dump, if it says them (`dump_modify units yes`)."""
    from ase.io.formats import open_with_compression

    file: Any
    with open_with_compression(str(path), "rt") as file:
        lines = list(itertools.islice(file, 4))  # the units come first
    return next((after.strip() for line, after in itertools.pairwise(lines) if line.startswith("ITEM: UNITS")), None)
