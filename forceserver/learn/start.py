"""What a run begins with: structures that have labels, and others that the reference computes first."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..files import write_json
from ..fit.config import DataConfig
from ..fit.labels import LabelReader, Labels
from ..models.base import MEMBERS
from ..structures import read_structures
from . import rounds

if TYPE_CHECKING:
    from ase import Atoms


def begin(folder: Path, data: DataConfig) -> None:
    """Writes what the first round needs; nothing if that is there.

    `InputError` for structures that cannot be read, for fewer than a model with members needs, and for other structures
    than the run has begun with.
    """
    checksum = hashlib.sha256(data.train.read_bytes()).hexdigest()
    record = rounds.read_json(folder / "start.json")
    if record is not None:
        if record["sha256"] != checksum:
            raise InputError(f"{data.train}: {folder} has begun with other structures; choose another folder")
        return
    folder.mkdir(parents=True, exist_ok=True)
    labelled, bare = read_start(data)
    rounds.write(folder / "start.extxyz", labelled)
    rounds.write(rounds.round_of(folder, 0).selected, bare)
    write_json(folder / "start.json", {"sha256": checksum, "labelled": len(labelled), "unlabelled": len(bare)})


def read_start(data: DataConfig) -> tuple[list["Atoms"], list["Atoms"]]:
    """The structures with energy or forces, under our names, and those without; `InputError` for too few."""
    reader = LabelReader(data.keys())
    labelled, bare = [], []
    for number, atoms in enumerate(read_structures(data.train)):
        labels = reader.read(atoms, f"{data.train}: structure {number}")
        if labels.energy is None and labels.forces is None:
            bare.append(stripped(atoms, labels.group, why="start"))
        else:
            labelled.append(with_labels(stripped(atoms, labels.group), labels))
    if len(labelled) + len(bare) < MEMBERS:
        raise InputError(
            f"{data.train}: has {len(labelled) + len(bare)} structures, at least {MEMBERS} are needed for a model that "
            "knows its uncertainty (16 for one that is calibrated): displace the atoms of a few at random"
        )
    return labelled, bare


def stripped(atoms: "Atoms", group: str | None, **info: object) -> "Atoms":
    """Species, positions, cell and periodicity alone, with new entries of info."""
    from ase import Atoms

    bare = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.info |= ({} if group is None else {"config_type": group}) | info
    return bare


def with_labels(atoms: "Atoms", labels: Labels) -> "Atoms":
    """A copy with labels by the names that `fit` finds."""
    new = atoms.copy()
    if labels.energy is not None:
        new.info["REF_energy"] = labels.energy
    if labels.virial is not None and atoms.pbc.all():
        new.info["REF_virial"] = np.asarray(labels.virial)
    if labels.forces is not None:
        new.arrays["REF_forces"] = np.asarray(labels.forces)
    return new
