"""Structures with labels, as a fit needs them."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..frame import Array, Frame
from ..structures import read_structures
from .config import DataConfig

if TYPE_CHECKING:
    from ase import Atoms

log = logging.getLogger(__name__)

UNNAMED = "(none)"
SAME_ENERGY = 1e-6
"""eV by which two energies of one isolated atom may differ."""
ISOLATED = "isolatedatom"
"""What the kind of an isolated atom is called, in lower case without `_`, `-` and blanks, as by MACE and gap_fit."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A structure, its group, and its labels or None: energy (eV), forces (N, 3), virial (3, 3) in eV, -dE/dstrain.

    isolated: whether it is an atom of its own, whose energy is the e_0 of its species.
    """

    frame: Frame
    group: str
    energy: float | None
    forces: Array | None
    virial: Array | None
    isolated: bool = False


def read(path: Path, config: DataConfig) -> list[Labelled]:
    """All structures of a file.

    `InputError` for a file that cannot be read, and, naming the structure (counted from 0), for labels that are not
    finite or of the wrong shape, and for a structure without any.
    """
    return [
        _labelled(atoms, config, f"{path}: structure {number}") for number, atoms in enumerate(read_structures(path))
    ]


def _labelled(atoms: "Atoms", config: DataConfig, where: str) -> Labelled:
    energy = _label(atoms, config.energy_key, (), where)
    forces = _label(atoms, config.forces_key, (len(atoms), 3), where)
    virial = _label(atoms, config.virial_key, (3, 3), where)
    stress = _label(atoms, config.stress_key, (3, 3), where)
    if virial is None and stress is not None:
        if atoms.cell.rank < 3:
            raise InputError(f"{where} has a stress but no volume")
        virial = -stress * atoms.get_volume()
    if energy is None and forces is None and virial is None:
        raise InputError(
            f"{where} has no label {config.energy_key!r}, {config.forces_key!r}, {config.virial_key!r} or "
            f"{config.stress_key!r}; name them with data.energy_key and so on, or leave the structure out"
        )
    group = str(atoms.info.get(config.group_key, UNNAMED))
    isolated = _is_isolated(atoms, group, where)
    return Labelled(Frame.from_ase(atoms), group, None if energy is None else float(energy), forces, virial, isolated)


def _is_isolated(atoms: "Atoms", group: str, where: str) -> bool:
    """Called so, or one atom without periodic images."""
    kinds = {group, str(atoms.info.get("config_type", ""))}
    named = any(re.sub("[-_ ]", "", kind).lower() == ISOLATED for kind in kinds)
    if named and len(atoms) != 1:
        raise InputError(f"{where} is called an isolated atom and has {len(atoms)} atoms")
    return named or (len(atoms) == 1 and not atoms.pbc.any())


def _label(atoms: "Atoms", key: str, shape: tuple[int, ...], where: str) -> Array | None:
    """A label from the info, the arrays, or what ASE's readers turn into results of a calculator."""
    results = atoms.calc.results if atoms.calc is not None else {}
    value: Any = next((place[key] for place in (atoms.info, atoms.arrays, results) if key in place), None)
    if value is None:
        return None
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: the label {key!r} is not numbers: {error}") from error
    if shape == (3, 3) and array.size == 6:
        from ase.stress import voigt_6_to_full_3x3_stress

        array = voigt_6_to_full_3x3_stress(array)
    if array.size != int(np.prod(shape)):
        raise InputError(f"{where}: the label {key!r} has the shape {array.shape}, must be {shape or 'one number'}")
    if not np.isfinite(array).all():
        raise InputError(f"{where}: the label {key!r} is not finite")
    return array.reshape(shape)


def species_of(data: Sequence[Labelled]) -> tuple[int, ...]:
    """Atomic numbers that occur, ascending."""
    return tuple(np.unique(np.concatenate([one.frame.species for one in data])).tolist())


def check_species(data: Sequence[Labelled], species: Sequence[int], path: Path) -> None:
    """`InputError` for the first structure with a species that is not among these."""
    from ase.data import chemical_symbols

    for number, one in enumerate(data):
        strange = np.setdiff1d(one.frame.species, species)
        if len(strange):
            raise InputError(
                f"{path}: structure {number} has {', '.join(chemical_symbols[s] for s in strange)}, which is not in "
                "the training structures"
            )


def without_isolated(data: Sequence[Labelled], path: Path) -> tuple[list[Labelled], dict[int, float]]:
    """The structures that are no isolated atoms, and e_0 (eV) of the species that have one.

    `InputError` if two isolated atoms of a species have different energies, or one has none.
    """
    from ase.data import chemical_symbols

    rest: list[Labelled] = []
    energies: dict[int, tuple[float, int]] = {}
    for number, one in enumerate(data):
        if not one.isolated:
            rest.append(one)
            continue
        species = int(one.frame.species[0])
        what = f"{path}: structure {number}, an isolated atom of {chemical_symbols[species]},"
        if one.energy is None:
            raise InputError(f"{what} has no energy")
        energy, first = energies.setdefault(species, (one.energy, number))
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
