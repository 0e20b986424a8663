"""Which element the label of an atom stands for, including labels that i-PI knows and ASE does not.

i-PI has labels for isotopes (D, T, C13, O18, ...), which to a potential are their element; for elements that had no
name when its table was made; and for what is not an atom: these become X, with atomic number 0, as in ASE. Masses are
left to i-PI; here, only PLUMED's variables need them.
"""

import re
from collections.abc import Iterable
from typing import Any

_ELEMENT_OF = {
    "D": "H",
    "T": "H",
    "Z": "H",  # between H and D
    "L": "X",  # photon of a cavity
    "E": "X",  # electron, boson, ... in i-PI's examples
    "Uut": "Nh",
    "Uup": "Mc",
    "Uus": "Ts",
    "Uuo": "Og",
}


def find_element(label: str) -> int | None:
    """The atomic number, also for isotopes such as C13; None for a label that stands for no element."""
    from ase.data import atomic_numbers

    isotope = re.fullmatch(r"([A-Z][a-z]?)\d+", label)
    for symbol in (label, _ELEMENT_OF.get(label), isotope and isotope[1]):
        if symbol in atomic_numbers:
            return atomic_numbers[symbol]
    return None


def bond_length(first: Any, second: Any) -> Any:
    """The sum of the covalent radii (Angstrom) of atomic numbers, or of arrays of them."""
    from ase.data import covalent_radii

    return covalent_radii[first] + covalent_radii[second]


def own_mass(label: str) -> float | None:
    """i-PI's mass (amu) of a label that is not an element's symbol; None for symbols, and for labels i-PI lacks."""
    from ase.data import atomic_numbers
    from ipi.utils.units import Elements

    return None if label in atomic_numbers else Elements.mass_list.get(label)


def named_element(symbol: str) -> int:
    """The atomic number of an element named in a configuration; `ValueError` if there is none of this name.

    Potentials and variables know elements, not isotopes: D would select H as well.
    """
    from ase.data import atomic_numbers, chemical_symbols

    if symbol in atomic_numbers and symbol != "X":
        return atomic_numbers[symbol]
    known = find_element(symbol)
    hint = f"; it is {chemical_symbols[known]} here: write that, or indices where only some are meant" if known else ""
    raise ValueError(f"there is no element {symbol!r}{hint}")


def symbols(numbers: Iterable[int]) -> str:
    """The symbols of atomic numbers, for a message: "H, O"."""
    from ase.data import chemical_symbols

    return ", ".join(chemical_symbols[number] for number in numbers)
