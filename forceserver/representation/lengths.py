"""Lengths that may differ between pairs of species: one number for all, or a table such as { "H-O" = 0.97 }."""

from typing import Annotated

from pydantic import AfterValidator, Field

from ..elements import named_element


def _pair_name(name: str) -> str:
    """The name of a pair, its lighter species first."""
    first, dash, second = name.partition("-")
    if not dash:
        raise ValueError(f'"{name}" is no pair of species; write it as "H-O"')
    return "-".join(sorted((first, second), key=named_element))


def _each_once(table: dict[str, float]) -> dict[str, float]:
    names = {name: _pair_name(name) for name in table}
    twice = [name for name, pair in names.items() if name != pair and pair in table]
    if twice or not table:
        raise ValueError(f"{twice[0]} is there twice" if twice else "a table must name at least one pair of species")
    return {names[name]: length for name, length in table.items()}


Lengths = Annotated[dict[str, Annotated[float, Field(gt=0)]], AfterValidator(_each_once)]
"""Lengths (Angstrom) by pairs of species, written in either order."""


def of_pair(length: float | dict[str, float], first: int, second: int, key: str) -> float:
    """The length for a pair of species (atomic numbers); `ValueError` names the key of a table that lacks the pair."""
    from ase.data import chemical_symbols

    if not isinstance(length, dict):
        return length
    name = "-".join(chemical_symbols[number] for number in sorted((first, second)))
    if name not in length:
        raise ValueError(f"{key}: there is none for {name}, only for {', '.join(length)}")
    return length[name]
