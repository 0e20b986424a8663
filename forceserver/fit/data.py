"""Structures with labels, as a fit needs them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..frame import Array, Frame
from .config import DataConfig

if TYPE_CHECKING:
    from ase import Atoms

UNNAMED = "(none)"


@dataclass(frozen=True, eq=False)
class Labelled:
    """A structure, its group, and its labels or None: energy (eV), forces (N, 3), virial (3, 3) in eV, -dE/dstrain."""

    frame: Frame
    group: str
    energy: float | None
    forces: Array | None
    virial: Array | None


def read(path: Path, config: DataConfig) -> list[Labelled]:
    """All structures of a file.

    `InputError` for a file that ASE cannot read, and, naming the structure (counted from 0), for labels that are not
    finite or of the wrong shape, and for a structure without any.
    """
    import ase.io

    try:
        structures = ase.io.read(path, index=":")
    except Exception as error:  # ASE's readers raise nearly everything
        raise InputError(f"{path}: ASE cannot read it: {type(error).__name__}: {error}") from error
    if not structures:
        raise InputError(f"{path}: no structure in it")
    return [_labelled(atoms, config, f"{path}: structure {number}") for number, atoms in enumerate(structures)]


def _labelled(atoms: "Atoms", config: DataConfig, where: str) -> Labelled:
    if len(atoms) == 0:
        raise InputError(f"{where} has no atoms")
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
    return Labelled(Frame.from_ase(atoms), group, None if energy is None else float(energy), forces, virial)


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


def atomic_energies(
    data: Sequence[Labelled], baseline: Sequence[float], given: Mapping[str, float], species: Sequence[int]
) -> dict[int, float]:
    """e_0 of each species: given by symbol, or by least squares of the energies beyond the baseline on compositions."""
    from ase.data import atomic_numbers

    known = {atomic_numbers[symbol]: energy for symbol, energy in given.items()}
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
