"""What contractions that learn from energies are told: energies of structures less what their composition explains."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..frame import Array, Frame

FEWEST = 4


@dataclass(frozen=True, eq=False)
class Targets:
    """Structures with energies.

    frames: S structures. species: in them, ascending. composition: (S, A) fractions of the species. energies: (S,), eV
    per atom, of which the least squares of the composition are taken out. numbers: (S,), places among all structures,
    for messages.
    """

    frames: tuple[Frame, ...]
    species: tuple[int, ...]
    composition: Array
    energies: Array
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, frames: Sequence[Frame], energies: Sequence[float | None]) -> "Targets":
        """The structures whose energy (eV, of all atoms) is not None.

        `InputError`: an energy is not finite, fewer than four structures have one, or composition explains them all.
        """
        if len(energies) != len(frames):
            raise InputError(f"contraction: there are {len(energies)} energies for {len(frames)} structures")
        kept = [number for number, energy in enumerate(energies) if energy is not None]
        values = np.array([energies[number] for number in kept], dtype=np.float64)
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise InputError(f"contraction: the energy of structure {kept[wrong[0]]} is {values[wrong[0]]}, not finite")
        if len(kept) < FEWEST:
            raise InputError(
                f"contraction: {len(kept)} structures have an energy, and it takes {FEWEST} to learn from them"
            )
        chosen = tuple(frames[number] for number in kept)
        species = tuple(sorted(set(np.concatenate([frame.species for frame in chosen]).tolist())))
        composition = np.array([[np.mean(frame.species == s) for s in species] for frame in chosen])
        per_atom = values / [len(frame) for frame in chosen]
        left = without(composition, per_atom)
        if np.abs(left).max() <= 1e-12 * np.abs(per_atom).max():
            raise InputError("contraction: the composition explains all energies; there is nothing else to learn")
        return cls(chosen, species, composition, left, tuple(kept))


def without(composition: Array, rows: Array) -> Array:
    """`rows` (S, ...) less their least squares by the composition (S, A)."""
    flat = rows.reshape(len(rows), -1)
    return (flat - composition @ np.linalg.lstsq(composition, flat, rcond=None)[0]).reshape(rows.shape)
