"""Environments of structures with their labels: what weights are fitted to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..elements import symbols
from ..errors import InputError
from ..frame import Array, Frame
from ..representation.config import selection
from ..representation.invariants import PowerSpectrum, PowerSpectrumBasis
from ..representation.neighbours import NeighbourList, Selection
from .power_spectrum import PowerSpectrumConfig

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True, eq=False)
class Samples:
    """Features (S, F) with their labels (S,), or None, and the number of the structure that each comes from (S,)."""

    features: Array
    labels: NDArray | None
    structures: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        config: PowerSpectrumConfig,
        basis: PowerSpectrumBasis,
        structures: Sequence["Atoms"],
        label: str | None,
        *,
        of_structures: bool,
    ) -> "Samples":
        """The centres of all structures; with `of_structures` the means over them where a label is a structure's.

        `InputError`: a structure has no centres or not this label.
        """
        parts: list[Array] = []
        labels: list[Any] = []
        homes: list[Array] = []
        for number, (atoms, centres, p) in enumerate(_spectra(config, basis, structures)):
            if label is not None:
                found, of_atoms = _label(atoms, label, number)
                if of_structures and not of_atoms:
                    p = p.mean(axis=0, keepdims=True)
                labels.append(found[centres] if of_atoms else np.full(len(p), found))
            parts.append(p)
            homes.append(np.full(len(p), number))
        joined = None if label is None else np.concatenate(labels)
        return cls(np.concatenate(parts), joined, np.concatenate(homes))


def neighbour_species(config: PowerSpectrumConfig, structures: Sequence["Atoms"]) -> tuple[int, ...]:
    """Those that the section names, or of the atoms that it chooses; `InputError` if no structure has one of them."""
    chosen = selection(config.neighbours)
    if chosen.species is None:
        found = {int(s) for atoms in structures for s in atoms.numbers[_resolved(chosen, atoms)]}
        return tuple(sorted(found))
    present = {int(s) for atoms in structures for s in np.unique(atoms.numbers)}
    missing = sorted(set(chosen.species) - present)
    if missing:
        raise InputError(f"no structure has neighbours {symbols(missing)}: nothing can be learnt of them")
    return tuple(sorted(chosen.species))


def _resolved(chosen: Selection, atoms: "Atoms") -> NDArray:
    try:
        return chosen.resolve(atoms.numbers, "neighbours")
    except ValueError as error:
        raise InputError(str(error)) from error


def _spectra(
    config: PowerSpectrumConfig, basis: PowerSpectrumBasis, structures: Sequence["Atoms"]
) -> Iterator[tuple["Atoms", NDArray, Array]]:
    """Every structure, its centres and their features (n, F)."""
    chosen = selection(config.neighbours)
    for number, atoms in enumerate(structures):
        frame = Frame.from_ase(atoms)
        around = chosen
        if chosen.species is not None:  # a structure need not have all of them
            around = Selection(species=tuple(s for s in chosen.species if s in frame.species))
        try:
            pairs = NeighbourList(
                frame.species,
                basis.expansion.cutoff,
                pbc=frame.pbc,
                centres=selection(config.centres),
                neighbours=around,
            )
            pairs.update(frame.positions, frame.cell)
            yield atoms, pairs.centres, PowerSpectrum(basis, pairs).values().copy()
        except ValueError as error:
            raise InputError(f"structure {number}: {error}") from error


def _label(atoms: "Atoms", name: str, number: int) -> tuple[Any, bool]:
    """A label and whether it is one of every atom."""
    results = atoms.calc.results if atoms.calc is not None else {}
    for place in (atoms.arrays, results, atoms.info):
        if name in place:
            value = np.asarray(place[name])
            if value.ndim == 0:
                return value.item(), False
            if value.shape == (len(atoms),):
                return value, True
            raise InputError(
                f"structure {number}: the label {name!r} has shape {value.shape}, must be one number or word"
            )
    known = sorted({*atoms.info, *results, *(set(atoms.arrays) - {"numbers", "positions"})})
    there = f"there are {', '.join(known)}" if known else "it has no labels"
    raise InputError(f"structure {number} has no label {name!r}; {there}")
