"""The section [expansion]: which coefficients and invariants `forceserver describe` computes."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from ..elements import named_element
from ..errors import InputError
from ..sections import Section
from .bases import AnyRadialBasis
from .contraction_config import ContractionConfig
from .multispectrum_config import MultispectrumConfig
from .neighbours import Selection

if TYPE_CHECKING:
    from ase import Atoms

    from ..frame import Frame
    from .contraction import Contraction
    from .expansion import ExpansionBasis

AtomChoice = str | tuple[str, ...] | tuple[int, ...]
"""One species, several, or indices (from 0)."""


class ExpansionConfig(Section):
    """Section [expansion]: the spherical expansion around centres, and its power spectrum."""

    basis: AnyRadialBasis
    contraction: ContractionConfig | None = Field(default=None, description="contraction of the radial functions")
    centres: AtomChoice | None = Field(default=None, description="species (one or several), or indices; all by default")
    neighbours: AtomChoice | None = Field(
        default=None, description="species (one or several), or indices; all by default"
    )
    centre_contribution: bool = Field(default=True, description="whether a centre counts in l = 0 of its own species")
    power_spectrum: bool = True
    multispectrum: MultispectrumConfig | None = Field(default=None, description="invariants of higher body orders")
    normalise: bool = Field(default=False, description="divide the power spectrum of a centre by its length")
    gradients: bool = Field(default=False, description="also explicit sparse gradients of the coefficients, and strain")
    tolerance: float = Field(default=1e-8, ge=1e-12, le=0.1, description="largest error of the splines")

    @field_validator("centres", "neighbours")
    @classmethod
    def _known(cls, atoms: AtomChoice | None) -> AtomChoice | None:
        selection(atoms)
        return atoms

    def neighbour_species(self, structures: Iterable["Atoms"]) -> list[int]:
        """The species of neighbours: those in the section, or those of the chosen atoms in the structures.

        Raises `InputError` if a structure does not have the chosen atoms.
        """
        chosen = selection(self.neighbours)
        if chosen.species is not None:
            return sorted(set(chosen.species))
        species: set[int] = set()
        for number, atoms in enumerate(structures):
            try:
                species |= set(atoms.numbers[chosen.resolve(atoms.numbers, "neighbours")].tolist())
            except ValueError as error:
                raise InputError(f"structure {number}: {error}") from error
        return sorted(species)

    def expansion_basis(self, structures: Sequence["Atoms"]) -> "ExpansionBasis":
        """The basis of the expansion for the species in these structures, with the contraction of the section, if any.

        Raises `InputError` if a structure does not have the chosen atoms, or a contraction cannot be made or read.
        """
        from ..frame import Frame
        from .expansion import ExpansionBasis
        from .spline import SplineTable

        species = self.neighbour_species(structures)
        if self.contraction is None:
            table = SplineTable.build(self.basis, self.tolerance)
            return ExpansionBasis(dict.fromkeys(species, table), centre_contribution=self.centre_contribution)
        contraction = self.contract(self.contraction, map(Frame.from_ase, structures), species)
        return contraction.expansion(self.tolerance, centre_contribution=self.centre_contribution)

    def contract(
        self,
        contraction: ContractionConfig,
        frames: Iterable["Frame"],
        species: list[int],
        energies: Sequence[float | None] | None = None,
    ) -> "Contraction":
        """The contraction of the basis, made from these structures unless it names others; errors as for `make`."""
        return contraction.make(
            self.basis,
            frames,
            species,
            energies=energies,
            centres=selection(self.centres),
            neighbours=None if self.neighbours is None else selection(self.neighbours),
            centre_contribution=self.centre_contribution,
            tolerance=self.tolerance,
        )


def selection(atoms: AtomChoice | None) -> Selection:
    """The selection of species or indices, of all if None; `ValueError` for a species that does not exist."""
    if atoms is None:
        return Selection()
    atoms = (atoms,) if isinstance(atoms, str) else atoms
    if not atoms:
        raise ValueError("no species and no index")
    if isinstance(atoms[0], str):
        return Selection(species=tuple(map(named_element, atoms)))
    return Selection(indices=tuple(atoms))
