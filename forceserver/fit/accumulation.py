"""One pass over the structures: their rows, reduced to the factors of groups, which an interrupted fit keeps."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import InputError
from ..frame import Array
from . import parts
from .columns import Columns, joined_rows
from .config import FitConfig
from .data import Labelled
from .preparation import Problem
from .progress import Progress
from .regression import QUANTITIES, Factor
from .rows import UPPER, PairRows, SoapRows


def accumulate(
    columns: Sequence[Columns], problem: Problem, groups: Sequence[Sequence[int]], folder: Path, progress: Progress
) -> dict[str, list[Factor]]:
    """Computes the factors of all groups, or reads those that an interrupted fit has left.

    Args:
        columns: What the weights stand for.
        problem: The structures, and what is left of their labels.
        groups: The places of the structures of each group.
        folder: Where the factors of finished groups are kept.
        progress: Shows how many structures are done.

    Returns:
        For each quantity of which there are labels, a factor for each group.

    Raises:
        InputError: Two atoms of a structure are in one place.
    """
    fingerprint = _fingerprint(columns, problem)
    n = sum(column.size for column in columns)
    factors: dict[str, list[Factor]] = {quantity: [] for quantity in QUANTITIES}
    watched = iter(progress([number for group in groups for number in group], "rows", len(problem.rest)))
    for k, group in enumerate(groups):
        path = folder / f"{k}.npz"
        found = parts.read(path, fingerprint, n)
        mine = found or {quantity: Factor(n) for quantity in QUANTITIES}
        for _ in group:
            number = next(watched)
            if not found:
                add(mine, columns, problem.rest[number], problem.config)
        if not found:
            for factor in mine.values():
                factor.finish()
            parts.write(path, fingerprint, mine)
        for quantity, factor in mine.items():
            factors[quantity].append(factor)
    next(watched, None)
    return {quantity: found for quantity, found in factors.items() if any(part.count for part in found)}


class Taking(Protocol):
    """What takes in weighted rows (m, n) and targets (m,)."""

    def add(self, rows: Array, targets: Array) -> None: ...


def add(factors: Mapping[str, Taking], columns: Sequence[Columns], one: Labelled, config: FitConfig) -> None:
    """Adds the rows of a structure, divided by the expected errors of its labels."""
    try:
        rows = joined_rows(columns, one.frame, one.forces is not None, one.virial is not None)
    except ValueError as error:
        raise InputError(f"training {one.name}: {error}") from error
    sigma, root = config.sigma_of(one.group), np.sqrt(len(one.frame))
    if one.energy is not None:
        weight = 1 / (sigma.energy_ev * root)
        factors["energy"].add(weight * rows.energy[None], np.array([weight * one.energy]))
    if one.forces is not None and rows.forces is not None:
        weight = 1 / sigma.force_ev_per_angstrom
        factors["forces"].add(weight * rows.forces, weight * one.forces.ravel())
    if one.virial is not None and rows.virial is not None:
        weight = 1 / (sigma.virial_ev * root)
        factors["virial"].add(weight * rows.virial, weight * one.virial.ravel()[UPPER])


def _fingerprint(columns: Sequence[Columns], problem: Problem) -> str:
    """Of everything that the rows depend on."""
    others = {"output", "report", "cross_validation", "solver", "embedding", "training"}
    digest = hashlib.sha256(problem.config.model_dump_json(exclude=others).encode())
    for column in columns:
        if isinstance(column, SoapRows):
            for points in column.points.values():
                digest.update(points.tobytes())
        if not isinstance(column, PairRows) and column.contraction is not None:
            for matrix in column.contraction.matrices.values():
                digest.update(matrix.tobytes())
    for one in problem.rest:
        for array in (one.frame.positions, one.frame.cell, one.energy, one.forces, one.virial):
            digest.update(b"-" if array is None else np.asarray(array).tobytes())
    return digest.hexdigest()
