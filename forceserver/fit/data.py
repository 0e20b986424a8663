"""Structures with labels, as a fit needs them."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..frame import Array, Frame
from ..representation.pairs import pairs_within
from ..structures import read_structures
from .config import DataConfig
from .labels import LabelReader

if TYPE_CHECKING:
    from ase import Atoms

log = logging.getLogger(__name__)

UNNAMED = "(none)"
SAME_ENERGY = 1e-6
"""eV by which two energies of one isolated atom may differ."""
ALONE = 8.0
"""Angstrom from its images at which an atom is isolated, whatever it is called; no crystal is that wide."""
TOO_CLOSE = 0.3
"""Angstrom; nearer than any two nuclei of a material, so one of the atoms is there twice or the units are others."""
UNSEEN = {"total charges": (("charge", "total_charge", "Charge"), "0"), "heads": (("head",), "none")}
"""What makes other energies of the same atoms: its names in `info`, and what a structure without it has. A head of MACE
is a level of theory."""
ISOLATED = "isolatedatom"
"""What the kind of an isolated atom is called, in lower case without `_`, `-` and blanks, as by MACE and gap_fit."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A structure, its group, and its labels or None: energy (eV), forces (N, 3), virial (3, 3) in eV, -dE/dstrain.

    isolated: whether it is an atom of its own, whose energy is the e_0 of its species.
    number: its place in its file, counted from 0.
    """

    frame: Frame
    group: str
    energy: float | None
    forces: Array | None
    virial: Array | None
    isolated: bool = False
    number: int = 0

    @property
    def name(self) -> str:
        """As it is called in what people read."""
        return f"structure {self.number}" + ("" if self.group == UNNAMED else f" ({self.group})")


def read(path: Path, config: DataConfig, reader: LabelReader | None = None) -> list[Labelled]:
    """All structures of a file; says how many labels of which name were found.

    reader: one for several files, which must have their labels under the same names.

    `InputError` for a file that cannot be read, and, naming the structure (counted from 0), for labels that
    `LabelReader` refuses, for a structure without any, and for atoms closer than
    `TOO_CLOSE`. A label that was named must occur in `config.train`.
    """
    labels = reader or LabelReader(config.keys())
    if path == config.train:
        labels.check_given(path)
    data: list[Labelled] = []
    unseen: dict[str, dict[str, None]] = {what: {} for what in UNSEEN}  # each value once, in the order of the file
    for number, atoms in enumerate(read_structures(path)):
        data.append(_labelled(atoms, labels, number, f"{path}: structure {number}"))
        for what, (names, missing) in UNSEEN.items():
            unseen[what][_said(atoms, names) or missing] = None
    labels.finish(path)
    for what, values in unseen.items():
        if len(values) > 1:
            log.warning(
                "%s: there are %s of %s: a model knows atoms only, and fits all of them alike; fit each on its own, or "
                "leave those out that you do not need",
                path,
                what,
                ", ".join(values),
            )
    return data


def _said(atoms: "Atoms", names: Sequence[str]) -> str:
    """The first word, or number but zero, that a structure has under one of these names; empty if there is none."""
    for name in names:
        value = atoms.info.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, int | float | np.integer | np.floating) and np.isfinite(value) and value:
            return f"{value:+g}"
    return ""


def _labelled(atoms: "Atoms", reader: LabelReader, number: int, where: str) -> Labelled:
    labels = reader.read(atoms, where)
    if labels.energy is None and labels.forces is None and labels.virial is None:
        raise InputError(
            f"{where} has no energy, forces, virial or stress; there are {reader.names_of(atoms)}: name them with "
            "data.energy_key and so on, or leave the structure out"
        )
    group = UNNAMED if labels.group is None else labels.group
    isolated = _is_isolated(atoms, group, where)
    frame = Frame.from_ase(atoms)
    if (of_none := np.flatnonzero(frame.species == 0)).size:
        raise InputError(f"{where}: atom {of_none[0]} (counted from 0) is X, which is no element: leave it out")
    _refuse_too_close(frame, where)
    return Labelled(frame, group, labels.energy, labels.forces, labels.virial, isolated, number)


def _refuse_too_close(frame: Frame, where: str) -> None:
    i, j, r, _ = pairs_within(frame, TOO_CLOSE)
    if len(r):
        n = r.argmin()
        raise InputError(
            f"{where}: atoms {i[n]} and {j[n]} (counted from 0) are {r[n]:.3g} Angstrom apart, must be at least "
            f"{TOO_CLOSE}: remove the atom that is there twice, or convert positions and cell to Angstrom"
        )


def _is_isolated(atoms: "Atoms", group: str, where: str) -> bool:
    """Called so, or one atom whose periodic images are too far away to matter."""
    kinds = {group, str(atoms.info.get("config_type", ""))}
    named = any(re.sub("[-_ ]", "", kind).lower() == ISOLATED for kind in kinds)
    if named and len(atoms) != 1:
        raise InputError(f"{where} is called an isolated atom and has {len(atoms)} atoms")
    alone = len(atoms) == 1 and (image := _nearest_image(atoms)) > ALONE
    if named and not alone:
        log.warning(
            "%s is called an isolated atom, and its periodic images are %.3g Angstrom away: its energy is taken for "
            "that of an atom by itself (a box of more than %g Angstrom); give a crystal another config_type",
            where,
            image,
            ALONE,
        )
    return named or alone


def _nearest_image(atoms: "Atoms") -> float:
    """Angstrom; infinite without periodicity."""
    from ase.geometry import minkowski_reduce

    reduced, _ = minkowski_reduce(atoms.cell, atoms.pbc)
    return min(np.linalg.norm(reduced[atoms.pbc], axis=1), default=np.inf)


def species_of(data: Sequence[Labelled]) -> tuple[int, ...]:
    """Atomic numbers that occur, ascending."""
    return tuple(np.unique(np.concatenate([one.frame.species for one in data])).tolist())


def check_species(data: Sequence[Labelled], species: Sequence[int], path: Path) -> None:
    """`InputError` for the first structure with a species that is not among these."""
    from ase.data import chemical_symbols

    for one in data:
        unknown = np.setdiff1d(one.frame.species, species)
        if len(unknown):
            symbols = ", ".join(chemical_symbols[number] for number in unknown)
            raise InputError(f"{path}: structure {one.number} has {symbols}, which is not in the training structures")


def without_isolated(data: Sequence[Labelled], path: Path) -> tuple[list[Labelled], dict[int, float]]:
    """The structures that are no isolated atoms, and e_0 (eV) of the species that have one.

    `InputError` if two isolated atoms of a species have different energies, or one has none.
    """
    from ase.data import chemical_symbols

    rest: list[Labelled] = []
    energies: dict[int, tuple[float, int]] = {}
    for one in data:
        if not one.isolated:
            rest.append(one)
            continue
        species = int(one.frame.species[0])
        what = f"{path}: structure {one.number}, an isolated atom of {chemical_symbols[species]},"
        if one.energy is None:
            raise InputError(f"{what} has no energy")
        energy, first = energies.setdefault(species, (one.energy, one.number))
        if abs(energy - one.energy) > SAME_ENERGY:
            raise InputError(f"{what} has {one.energy} eV, structure {first} has {energy} eV: leave one out")
    return rest, {species: energy for species, (energy, _) in energies.items()}


def atomic_energies(
    data: Sequence[Labelled],
    baseline: Sequence[float],
    given: Mapping[str, float],
    species: Sequence[int],
    isolated: Mapping[int, float],
) -> dict[int, float]:
    """e_0 of each species: given by symbol, or that of its isolated atom (by atomic number), or by least squares of the
    energies beyond the baseline on compositions."""
    from ase.data import atomic_numbers, chemical_symbols

    chosen = {atomic_numbers[symbol]: energy for symbol, energy in given.items()}
    known = {**isolated, **chosen}
    if unused := [chemical_symbols[number] for number in sorted(set(isolated) - set(species))]:
        log.warning("no structure but isolated atoms has %s: the model will not know it", ", ".join(unused))
    if unused := [symbol for symbol in given if atomic_numbers[symbol] not in species]:
        log.warning("energies_ev: no structure has %s", ", ".join(unused))
    for number in sorted(set(isolated) & set(species)):
        symbol, energy = chemical_symbols[number], isolated[number]
        if abs(known[number] - energy) > SAME_ENERGY:
            log.warning("energies_ev: %s = %s eV is taken; its isolated atom has %s eV", symbol, known[number], energy)
        else:
            log.info("e_0 of %s: %s eV, from its isolated atom", symbol, energy)
    free = [number for number in species if number not in known]
    rows, targets = [], []
    for one, base in zip(data, baseline, strict=True):
        if one.energy is not None:
            counts = {number: int((one.frame.species == number).sum()) for number in species}
            rest = one.energy - base - sum(known.get(number, 0.0) * count for number, count in counts.items())
            rows.append([counts[number] / len(one.frame) for number in free])
            targets.append(rest / len(one.frame))
    fitted = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0] if free and rows else np.zeros(len(free))
    return {number: known.get(number, 0.0) for number in species} | dict(zip(free, fitted.tolist(), strict=True))
