"""Applies the section [expansion] to structures: makes the features it asks for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..errors import InputError
from ..frame import Array, Frame
from .config import ExpansionConfig, selection
from .expansion import ExpansionBasis, SphericalExpansion
from .invariants import PowerSpectrum, PowerSpectrumBasis
from .lanes import aligned_zeros
from .multispectrum import Multispectrum, MultispectrumFeatures
from .multispectrum_fit import Show, make, unseen
from .neighbours import NeighbourList, Selection

if TYPE_CHECKING:
    from ase import Atoms


class Describer(Protocol):
    """Features of the centres of one neighbour list; what is returned may be overwritten by the next call."""

    def values(self) -> Array:
        """(n_centres, n_features); `ValueError` if two atoms coincide."""

    def vjp(self, gradient: Array) -> tuple[Array, Array]:
        """Forces (N, 3) and virial (3, 3) of an energy with this gradient (n_centres, n_features)."""


class FeatureMap:
    """The invariants of a section: its multispectrum, else its power spectrum, else its coefficients with l = 0.

    structures: determine the species; contraction and multispectrum learn from them unless they name others.
    `InputError`: files are damaged, there are too few structures, or too little memory.
    """

    def __init__(self, config: ExpansionConfig, structures: Sequence["Atoms"], show: Show = unseen) -> None:
        self.config = config
        self.expansion = config.expansion_basis(structures)
        self.multispectrum = multispectrum_of(config, self.expansion, structures, show)
        self.power_spectrum: PowerSpectrumBasis | None = None
        if self.multispectrum is None and config.power_spectrum:
            self.power_spectrum = PowerSpectrumBasis(self.expansion, normalise=config.normalise)
        if self.multispectrum is None and self.power_spectrum is None and 0 not in self.expansion.counts:
            raise InputError("expansion: has no l = 0, and neither power_spectrum nor multispectrum")

    @property
    def name(self) -> str:
        """Name of the features, for messages."""
        if self.multispectrum is not None:
            return f"multispectrum, nu = {self.multispectrum.nu}"
        return "coefficients, l = 0" if self.power_spectrum is None else "power spectrum"

    def __len__(self) -> int:
        """Number of features."""
        if self.multispectrum is not None:
            return len(self.multispectrum)
        if self.power_spectrum is not None:
            return len(self.power_spectrum)
        return self.expansion.n_blocks * self.expansion.counts[0]

    def at(self, neighbours: NeighbourList) -> Describer:
        """The features of the centres of a list."""
        if self.multispectrum is not None:
            return MultispectrumFeatures(self.multispectrum, neighbours)
        if self.power_spectrum is not None:
            return PowerSpectrum(self.power_spectrum, neighbours)
        return RadialFeatures(self.expansion, neighbours)

    def neighbours(self, frame: Frame, centres: Selection | None = None) -> NeighbourList:
        """The neighbours of the centres of the section, or of others; `ValueError` if there are none."""
        return neighbours_of(self.config, self.expansion.cutoff, frame, centres)


class RadialFeatures:
    """The coefficients with l = 0 of all blocks, invariants of order 1."""

    def __init__(self, basis: ExpansionBasis, neighbours: NeighbourList) -> None:
        self._basis = basis
        self._expansion = SphericalExpansion(basis, neighbours)

    def values(self) -> Array:
        """(n_centres, n_blocks * n_0)."""
        coefficients = self._expansion.values()
        return self._basis.split(coefficients)[0].reshape(len(coefficients), -1)

    def vjp(self, gradient: Array) -> tuple[Array, Array]:
        """Forces (N, 3) and virial (3, 3) of an energy with this gradient."""
        whole = aligned_zeros((len(gradient), self._basis.n_blocks, self._basis.size))
        part = self._basis.split(whole)[0]
        part[:] = gradient.reshape(part.shape)
        return self._expansion.vjp(whole)


def multispectrum_of(
    config: ExpansionConfig, basis: ExpansionBasis, structures: Sequence["Atoms"], show: Show = unseen
) -> Multispectrum | None:
    """The multispectrum of a section, learned from these structures unless it names others; None if it has none."""
    if config.multispectrum is None:
        return None
    return make(
        config.multispectrum,
        basis,
        [Frame.from_ase(atoms) for atoms in structures],
        centres=selection(config.centres),
        neighbours=None if config.neighbours is None else selection(config.neighbours),
        show=show,
    )


def neighbours_of(
    config: ExpansionConfig, cutoff: float, frame: Frame, centres: Selection | None = None
) -> NeighbourList:
    """The neighbours of the centres of a section, or of others; a structure need not have all species of neighbours.

    `ValueError`: there is no such centre, or the structure is invalid.
    """
    around = selection(config.neighbours)
    if around.species is not None:
        around = Selection(species=tuple(s for s in around.species if s in frame.species))
    found = NeighbourList(
        frame.species, cutoff, pbc=frame.pbc, centres=centres or selection(config.centres), neighbours=around
    )
    found.update(frame.positions, frame.cell)
    return found
