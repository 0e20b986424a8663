"""The section [[cv]]: one collective variable."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, StringConstraints, field_validator, model_validator

from ..config import Distinct, InputFile, Section
from ..representation.config import Atoms, selection
from ..representation.contraction_config import ContractionConfig
from ..representation.gto import GtoBasis
from .outputs import OUTPUTS, OutputName

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]


class PrincipalComponent(Section):
    """Contraction weights that keep most of the variance of the expansion coefficients over a set of structures."""

    first_principal_component_of: InputFile = Field(description="structures, any format that ASE reads")


class CVConfig(Section):
    """Section [[cv]]: an l = 1 (and l = 0) component of the density of neighbours around centres, reduced over centres.

    s = sum_i w_i sum_n u_n c^i_n1m over the centres i, with weights u_n over the radial functions. PLUMED knows each
    output as `LABEL.output` of the FORCESERVER action and as EXTRACV NAME=name_output. Atom indices count from 0.
    """

    name: Name
    centres: Atoms = Field(description="species (one or several), or indices")
    neighbours: Atoms = Field(description="species (one or several), or indices")
    basis: GtoBasis = Field(description="radial functions, l_max = 1")
    weights: tuple[float, ...] | PrincipalComponent | None = Field(
        default=None, description="u_n, one for each radial function; or else a contraction"
    )
    contraction: ContractionConfig | None = Field(
        default=None, description="the first function of each l, of structures or of a file; mixed for several species"
    )
    reduction: Literal["mean", "sum"] = "mean"
    groups: dict[Name, tuple[int, ...]] = Field(
        default={}, description="centres that are reduced separately; outputs are then called GROUP_output"
    )
    outputs: Annotated[tuple[OutputName, ...], Distinct] = ("x", "y", "z")
    axes: dict[Name, tuple[float, float, float]] = Field(
        default={}, description="further outputs: projections of the vector onto these directions"
    )
    per_centre: Annotated[tuple[int, ...], Distinct] = Field(
        default=(), description="further outputs atomI_x, atomI_y, atomI_z: the vector of centre I alone"
    )
    skin_angstrom: float = Field(default=0.5, ge=0, description="of the neighbour list; has no influence on results")
    tolerance: float = Field(default=1e-8, ge=1e-12, le=0.1, description="largest error of the splines")

    @field_validator("centres", "neighbours")
    @classmethod
    def _known(cls, atoms: Atoms) -> Atoms:
        selection(atoms)
        return atoms

    @field_validator("axes")
    @classmethod
    def _directions(cls, axes: dict) -> dict:
        for name, axis in axes.items():
            if not np.linalg.norm(axis) > 0:
                raise ValueError(f"axis {name!r} has no direction")
        return axes

    @model_validator(mode="after")
    def _consistent(self) -> "CVConfig":
        if self.basis.l_max != 1:
            raise ValueError(f"basis.l_max must be 1, got {self.basis.l_max}")
        if (self.weights is None) == (self.contraction is None):
            raise ValueError("give either weights or contraction, which say what is made of the radial functions")
        if self.contraction is not None and self.contraction.file is None and self.contraction.structures is None:
            raise ValueError("contraction.structures or contraction.file is missing: a variable has no data of its own")
        if isinstance(self.weights, tuple) and len(self.weights) != self.basis.n_max:
            raise ValueError(f"weights must hold basis.n_max = {self.basis.n_max} numbers, got {len(self.weights)}")
        if isinstance(self.weights, tuple) and not any(self.weights):
            raise ValueError("weights are all zero")
        if not (self.outputs or self.axes or self.per_centre):
            raise ValueError("outputs, axes and per_centre are all empty: nothing to compute")
        taken = [name for name in self.axes if name in OUTPUTS]
        if taken:
            raise ValueError(f"axes: {taken[0]!r} is the name of another output")
        return self
