"""Potentials of atomic-energy models of all kinds, evaluated in reverse mode.

Positions -> features of every atom -> energies and dE/d(features) -> forces and virial: the derivative costs about as
much as the energy. A term of a model defines its features and their energy; neighbour lists, batches, threads, pair
potentials and members are here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _ext
from ..errors import InputError, PotentialError
from ..frame import Array, Frame, Result
from ..models.base import MEMBERS, Model
from ..models.pairs import PairInteraction
from ..representation.neighbours import NeighbourList, Selection
from ..representation.pairs import pairs_within
from ..turns import Remade, in_turn
from .base import Potential
from .committee import mean_of
from .pair import PairPotential

Uncertainty = bool | Literal["atoms", "forces"]
"""Whether the extras have energies of the members and their spread; for "atoms" also the spread of the energy of each
atom, for "forces" also forces and virials of the members."""

ENOUGH = 1e-6  # accuracy of tables of pairs where a smoothing ends within the reach of another interaction


class Describer(Protocol):
    """Features of chosen atoms of one frame; results are overwritten by the next call."""

    def values(self) -> Array:
        """(n_centres, n_features); `ValueError` if two atoms coincide."""

    def vjp(self, gradient: Array) -> tuple[Array, Array]:
        """Forces (N, 3) and virial (3, 3) of an energy with this gradient (n_centres, n_features)."""


class Kernel(Protocol):
    """Energies of atoms of one species."""

    def evaluate(self, features: Array, energies: Array, gradient: Array, members: Array) -> None:
        """From features (n, F): energies (n,), gradient (n, F) and, if there are members, their energies (n, 8)."""


class Surroundings:
    """The neighbours of chosen atoms of one frame, in as many lists as a describer asks for.

    species, pbc: of all atoms. centres: indices of the chosen ones.
    """

    def __init__(self, frame: Frame, centres: NDArray[np.int64], skin: float) -> None:
        self.species, self.pbc, self.centres = frame.species.copy(), frame.pbc.copy(), centres
        self._skin = skin
        self._lists: list[NeighbourList] = []

    def within(self, cutoff: float, species: tuple[int, ...] | None = None) -> NeighbourList:
        """A list of the neighbours of these species (all by default) within a cutoff (Angstrom)."""
        self._lists.append(
            NeighbourList(
                self.species,
                cutoff,
                pbc=self.pbc,
                skin=self._skin,
                centres=Selection(indices=tuple(self.centres.tolist())),
                neighbours=None if species is None else Selection(species=species),
            )
        )
        return self._lists[-1]

    def update(self, frame: Frame) -> None:
        """Follows the atoms."""
        positions, cell = np.ascontiguousarray(frame.positions), np.ascontiguousarray(frame.cell)
        for neighbours in self._lists:
            neighbours.update(positions, cell)


@dataclass(frozen=True)
class Term:
    """One term of a model, ready for use: features of atoms, and the kernel of each species that has them."""

    describer: Callable[[Surroundings], Describer]
    kernels: Mapping[int, Kernel]


class ModelPotential(Remade, Potential):
    """A model as a potential.

    Neighbour lists and workspace are kept for each slot in the batch. `InputError` if an uncertainty is requested
    from a model without members, or if its features or pair potentials cannot be computed. Computing raises
    `PotentialError` for a species that the model does not know and for atoms that coincide.
    """

    def __init__(
        self, model: Model, terms: Callable[[], Sequence[Term]], uncertainty: Uncertainty, skin: float
    ) -> None:
        if uncertainty not in (False, True, "atoms", "forces"):
            raise InputError(f'uncertainty = {uncertainty!r} should be True, False, "atoms" or "forces"')
        if not (isinstance(skin, float | int) and skin >= 0):
            raise InputError(f"skin = {skin!r} should be a length in Angstrom, not negative")
        if uncertainty and not model.has_members:
            raise InputError(
                "uncertainty: the model has no members; `forceserver fit` adds them if it has eight structures or more"
            )
        self.model = model
        self._uncertainty = uncertainty
        self._skin = skin
        try:
            self._terms = list(terms())
            self._pairs = pair_potential(model, model.pairs) if model.pairs else None
            self._pair_members = [
                pair_potential(model, pairs) if pairs else None
                for pairs in (model.pair_members or () if uncertainty else ())
            ]
        except ValueError as error:
            raise InputError(f"the model cannot be computed: {error}") from error
        # forces of the members are those of eight more potentials: nothing of the first one helps them
        numbers = range(MEMBERS if uncertainty == "forces" else 0)
        self._forces_of = [type(self)(model.member(number), skin=skin) for number in numbers]  # type: ignore[call-arg]
        self._slots: list[_BatchSlot] = []
        self._threads: ThreadPoolExecutor | None = None

    def compute_one(self, frame: Frame) -> Result:
        """Computes one frame.

        Args:
            frame: the structure.

        Returns:
            Energy (eV), forces (N, 3) in eV/Angstrom, virial (3, 3) in eV, and extras.

        Raises:
            PotentialError: the model does not know a species, or two atoms coincide.
        """
        return self.compute([frame])[0]

    @in_turn
    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        """Computes a batch of frames, in parallel if there are at least as many as threads.

        Args:
            frames: the structures.

        Returns:
            One result per frame, in the order of the frames.

        Raises:
            PotentialError: the model does not know a species, or two atoms coincide.
        """
        frames = [Frame.of(frame) for frame in frames]  # from scripts they may come as Atoms
        slots = [self._slot(number, frame) for number, frame in enumerate(frames)]
        for number, term in enumerate(self._terms):
            working = [slot.terms[number] for slot in slots if slot.terms[number].parts]
            try:
                self._share(_Working.describe, working, frames)
            except ValueError as error:
                raise PotentialError(str(error)) from error
            _evaluate(term.kernels, working)
        results = self._share(_total, slots, map(len, frames))
        if self._pairs is not None:
            for result, pair in zip(results, self._pairs.compute(frames), strict=True):
                result.energy += pair.energy
                result.forces += pair.forces
                result.virial += pair.virial
        if self._uncertainty:
            self._add_uncertainty(frames, results)
        return results

    def close(self) -> None:
        """Ends the threads."""
        for member in self._forces_of:
            member.close()
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    @in_turn
    def atomic_energies(self, frame: Frame) -> Array:
        """Computes the energies of the atoms, whose sum is the energy; the energy of a pair is shared equally.

        Args:
            frame: the structure.

        Returns:
            (N,) float64, eV.

        Raises:
            PotentialError: the model does not know a species, or two atoms coincide.
        """
        frame = Frame.of(frame)
        self.compute_one(frame)
        slot = self._slots[0]
        return _atomic_energies(slot, frame, [term.energies[:, None] for term in slot.terms], [self.model.pairs])[:, 0]

    def _share(self, function: Callable, first: Sequence, second: Iterable) -> list:
        """Applies `function` to each pair, one per frame; one thread per frame if there are at least as many frames.

        A small frame cannot keep several threads busy.
        """
        threads = _ext.cpu.max_threads()
        if threads == 1 or len(first) < threads:
            return list(map(function, first, second))
        if self._threads is None:
            self._threads = ThreadPoolExecutor(threads, "model", initializer=_ext.cpu.set_threads, initargs=(1,))
        return list(self._threads.map(function, first, second))

    def _slot(self, number: int, frame: Frame) -> "_BatchSlot":
        """The state kept for this position in the batch, rebuilt if species or periodicity change."""
        while len(self._slots) <= number:
            self._slots.append(_BatchSlot())
        slot = self._slots[number]
        if not slot.fits(frame):
            self._check_species(frame)
            slot.species, slot.pbc = frame.species.copy(), frame.pbc.copy()
            slot.base = np.array([self.model.energies[species] for species in frame.species.tolist()])
            slot.terms = [_Working(term, frame, self._skin) for term in self._terms]
        return slot

    def _check_species(self, frame: Frame) -> None:
        unknown = ~np.isin(frame.species, self.model.species)
        if unknown.any():
            from ase.data import chemical_symbols

            known = ", ".join(chemical_symbols[number] for number in self.model.species)
            atom = int(unknown.argmax())
            raise PotentialError(
                f"atom {atom} (counted from 0) is {chemical_symbols[frame.species[atom]]}; the model knows {known} only"
            )

    def _add_uncertainty(self, frames: Sequence[Frame], results: Sequence[Result]) -> None:
        pairs = [member.compute(frames) if member else None for member in self._pair_members]
        for number, result in enumerate(results):
            slot = self._slots[number]
            members = np.full(MEMBERS, slot.base.sum())
            for term in slot.terms:
                members += term.members.sum(axis=0)
            if pairs:
                members += [member[number].energy if member else 0.0 for member in pairs]
            result.extras["committee_pot"] = members
            result.extras["committee_uncertainty"] = float(members.std(ddof=1))
            if self._uncertainty == "atoms":
                pairs_of: Sequence[Sequence[PairInteraction]] = self.model.pair_members or [()] * MEMBERS
                atomic = _atomic_energies(slot, frames[number], [term.members for term in slot.terms], pairs_of)
                result.extras["atomic_uncertainty"] = atomic.std(axis=1, ddof=1)
        if self._uncertainty == "forces":
            by_member = [member.compute(frames) for member in self._forces_of]
            for result, of_members in zip(results, zip(*by_member, strict=True), strict=True):
                result.extras |= mean_of(of_members).extras


def _atomic_energies(
    slot: "_BatchSlot", frame: Frame, terms: Sequence[Array], pairs: Sequence[Sequence[PairInteraction]]
) -> Array:
    """Energies (N, K) of the atoms, eV, from each of K models; the energy of a pair is shared equally.

    terms: (n, K) for each term of the slot, in its order of centres. pairs: the pair potentials of each model.
    """
    energies = np.repeat(slot.base[:, None], len(pairs), axis=1)
    for term, of_centres in zip(slot.terms, terms, strict=True):
        energies[term.order] += of_centres
    for column, interactions in zip(energies.T, pairs, strict=True):
        for interaction in interactions:
            column += pair_shares(interaction, frame)
    return energies


class _BatchSlot:
    """The state of one position in a batch."""

    species: NDArray[np.int32] | None = None
    pbc: NDArray[np.bool_] | None = None
    base: Array
    terms: "list[_Working]"

    def fits(self, frame: Frame) -> bool:
        return (
            self.species is not None
            and np.array_equal(self.species, frame.species)
            and self.pbc is not None
            and np.array_equal(self.pbc, frame.pbc)
        )


class _Working:
    """A term for the atoms of one frame that it describes, sorted by species, with its workspace."""

    def __init__(self, term: Term, frame: Frame, skin: float) -> None:
        chosen = np.flatnonzero(np.isin(frame.species, list(term.kernels)))
        self.order = chosen[np.argsort(frame.species[chosen], kind="stable")]
        species = frame.species[self.order]
        self.surroundings = Surroundings(frame, self.order, skin)
        if len(self.order):
            self.describer = term.describer(self.surroundings)
        self.energies = np.zeros(len(species))
        self.members = np.zeros((len(species), MEMBERS))
        self.gradient = np.empty((0, 0))
        self.parts = {
            number: slice(*np.searchsorted(species, [number, number + 1]).tolist())
            for number in np.unique(species).tolist()
        }  # none if the frame has no such atoms

    def describe(self, frame: Frame) -> None:
        """Computes the features of the atoms."""
        self.surroundings.update(frame)
        self.features = self.describer.values()
        if self.gradient.shape != self.features.shape:
            self.gradient = np.zeros(self.features.shape)

    def reverse(self) -> tuple[Array, Array]:
        """Forces and virial from the derivatives of the energies with respect to the features, as views."""
        return self.describer.vjp(self.gradient)


def _evaluate(kernels: Mapping[int, Any], terms: "list[_Working]") -> None:
    """Energies of the atoms and their derivatives with respect to the features.

    Atoms of one species from all frames form one matrix: single frames are too small to share cores.
    """
    for species, kernel in kernels.items():
        owners = [(term, term.parts[species]) for term in terms if species in term.parts]
        if len(owners) == 1:
            term, part = owners[0]
            kernel.evaluate(term.features[part], term.energies[part], term.gradient[part], term.members[part])
        elif owners:
            features = np.concatenate([term.features[part] for term, part in owners])
            energies, gradient = np.empty(len(features)), np.empty_like(features)
            members = np.empty((len(features), MEMBERS))
            kernel.evaluate(features, energies, gradient, members)
            first = 0
            for term, part in owners:
                rows = slice(first, first := first + part.stop - part.start)
                term.energies[part], term.gradient[part] = energies[rows], gradient[rows]
                term.members[part] = members[rows]


def _total(slot: _BatchSlot, atoms: int) -> Result:
    """Sums the base energy and the terms of one frame."""
    energy, forces, virial = slot.base.sum(), np.zeros((atoms, 3)), np.zeros((3, 3))
    for term in slot.terms:
        if not term.parts:
            continue
        term_forces, strain = term.reverse()
        energy += term.energies.sum()
        forces += term_forces
        virial += strain
    return Result(float(energy), forces, virial)


def pair_shares(interaction: PairInteraction, frame: Frame) -> Array:
    """(N,) eV: half of the energy of every pair that an atom belongs to."""
    i, j, r, _ = pairs_within(frame, interaction.cutoff_angstrom, each_way=True)
    first, second = interaction.numbers
    chosen = (np.minimum(frame.species[i], frame.species[j]) == first) & (
        np.maximum(frame.species[i], frame.species[j]) == second
    )
    shares = 0.5 * interaction.evaluate(r[chosen])[0]
    return np.bincount(i[chosen], weights=shares, minlength=len(frame)).astype(np.float64, copy=False)


def pair_potential(model: Model, interactions: Sequence[PairInteraction]) -> PairPotential:
    """The pair potentials of a model, or of one of its members."""
    return PairPotential(interactions, enough=ENOUGH, others=model.species)
