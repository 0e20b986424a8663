"""Which element the label of an atom stands for, also the labels that i-PI knows and ASE does not.

i-PI has labels for isotopes (D, T, C13, O18, ...), which to a potential are their element, for elements that had no
name when its table was made, and for what is no atom at all: these are X, with the atomic number 0, as in ASE. Masses
are the matter of i-PI; of ours, only PLUMED's variables need them.
"""

import re
from collections.abc import Iterable

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
    """The atomic number, also of an isotope such as C13; None for a label that stands for no element."""
    from ase.data import atomic_numbers

    isotope = re.fullmatch(r"([A-Z][a-z]?)\d+", label)
    for symbol in (label, _ELEMENT_OF.get(label), isotope and isotope[1]):
        if symbol in atomic_numbers:
            return atomic_numbers[symbol]
    return None


def own_mass(label: str) -> float | None:
    """The mass (amu) that i-PI gives to a label that is no element's symbol; None for a symbol and what it lacks."""
    from ase.data import atomic_numbers
    from ipi.utils.units import Elements

    return None if label in atomic_numbers else Elements.mass_list.get(label)


def named_element(symbol: str) -> int:
    """The atomic number of an element that a configuration names; `ValueError` if there is none of this name.

    A potential and a variable know elements, not isotopes, so that D would select H as well.
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
