"""What ASE's readers accept although the file does not say it: elements, positions, a cell, or which atom is where.

They then guess without a word: types of LAMMPS become atomic numbers, atoms without positions lie at the origin, a cell
under another name is ignored, and sites shared by several elements get the first of them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

SHARE = 1e-3
"""By how much the occupancies of a site may miss 1."""

ALTERNATIVE = 16
"""Column of a line of a pdb file that names one of several places of an atom."""

_MISSPELT = re.compile(
    r"\b((?i:lattice)|(?i:properties)|(?i:pbc)|cell)\s*=\s*[\"'{\[]*\s*([-+.\d]|[TF]\b|(?i:true|false)\b|\w+:[SRIL]:\d)"
)
_SPELT = ("Lattice", "Properties", "pbc")
_POSITIONS, _ELEMENTS = {"pos", "positions"}, {"species", "symbols", "Z", "numbers"}
_LAMMPS = {
    "lammps-dump-text": ("ITEM: ATOMS.*[ ](element|mass)\\b", "a column `element` (dump_modify ... element Al Cu)"),
    "lammps-data": ("Masses\\b|Atom Type Labels\\b", "a section Masses"),
}
"""For each format of LAMMPS how a line begins that tells elements, and what to add to a file without one."""


def check_comment(comment: str) -> None:
    """`InputError` if the comment of an xyz file has a cell, columns or periodicity under a name that ASE ignores."""
    for name, _ in _MISSPELT.findall(comment):
        if name in _SPELT or (name == "cell" and "Lattice" in comment):
            continue
        right = next((word for word in _SPELT if word.lower() == name.lower()), "Lattice")
        raise InputError(f"has {name}= in its comment, which ASE ignores in extended XYZ: write {right}=")


def check_columns(names: Sequence[str]) -> None:
    """`InputError` if the columns of an extended XYZ file hold no positions or no elements."""
    for what, known in (("positions", _POSITIONS), ("elements", _ELEMENTS)):
        if not known & set(names):
            wanted = "pos" if what == "positions" else "species"
            raise InputError(f"has no column of {what} ({wanted}); its Properties are {', '.join(names)}")


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
    """`InputError` if the types of a LAMMPS file have become atomic numbers, because it names no elements."""
    if kind not in _LAMMPS or not atoms.has("type") or (atoms.arrays["type"] != atoms.numbers).any():
        return
    from ase.io.formats import open_with_compression

    beginning, remedy = _LAMMPS[kind]
    tells = re.compile(rf"\s*({beginning})")
    file: Any
    with open_with_compression(str(path), "rt") as file:
        if not any(map(tells.match, file)):
            raise InputError(f"names no elements: its types would be taken for atomic numbers (1 is H); add {remedy}")
