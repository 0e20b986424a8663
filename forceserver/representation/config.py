"""The section [expansion]: which coefficients and invariants `forceserver describe` computes."""

from pydantic import Field, field_validator

from ..config import Section
from ..elements import named_element
from .bases import AnyRadialBasis
from .contraction_config import ContractionConfig
from .multispectrum_config import MultispectrumConfig
from .neighbours import Selection

Atoms = str | tuple[str, ...] | tuple[int, ...]
"""One species, several, or indices (from 0)."""


class ExpansionConfig(Section):
    """Section [expansion]: the spherical expansion around centres, and its power spectrum."""

    basis: AnyRadialBasis
    contraction: ContractionConfig | None = Field(default=None, description="of the radial functions of the basis")
    centres: Atoms | None = Field(default=None, description="species (one or several), or indices; all by default")
    neighbours: Atoms | None = Field(default=None, description="species (one or several), or indices; all by default")
    centre_contribution: bool = Field(default=True, description="whether a centre counts in l = 0 of its own species")
    power_spectrum: bool = True
    multispectrum: MultispectrumConfig | None = Field(default=None, description="invariants of higher body orders")
    normalise: bool = Field(default=False, description="divide the power spectrum of a centre by its length")
    gradients: bool = Field(default=False, description="also explicit sparse gradients of the coefficients, and strain")
    tolerance: float = Field(default=1e-8, ge=1e-12, le=0.1, description="largest error of the splines")

    @field_validator("centres", "neighbours")
    @classmethod
    def _known(cls, atoms: Atoms | None) -> Atoms | None:
        selection(atoms)
        return atoms


def selection(atoms: Atoms | None) -> Selection:
    """The selection of species or indices, of all if None; `ValueError` for a species that does not exist."""
    if atoms is None:
        return Selection()
    atoms = (atoms,) if isinstance(atoms, str) else atoms
    if not atoms:
        raise ValueError("no species and no index")
    if isinstance(atoms[0], str):
        return Selection(species=tuple(map(named_element, atoms)))
    return Selection(indices=tuple(atoms))
