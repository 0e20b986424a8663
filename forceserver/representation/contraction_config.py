"""The key `contraction` of descriptors, of [expansion] and of [[cv]]: made from structures, or read from a file."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ..frame import Frame
from ..sections import InputFile, Section
from .bases import AnyRadialBasis
from .contraction import Contraction, Covariance
from .neighbours import Selection


class ContractionConfig(Section):
    """Radial functions that are contracted to those that keep most of the variance of a set of structures."""

    kind: Literal["pca"] = Field(default="pca", description="principal components of the covariance of each l")
    mixed: bool = Field(default=False, description="of all species together: each function sees every species")
    q_max: int | None = Field(default=None, ge=1, description="functions that are kept")
    residual_variance: float | None = Field(default=None, gt=0, lt=1, description="fraction that may be left out")
    structures: InputFile | None = Field(default=None, description="whose environments; default: those at hand")
    file: InputFile | None = Field(default=None, description="made by `forceserver basis`; instead of all others")

    @model_validator(mode="after")
    def _one_source(self) -> "ContractionConfig":
        others = sorted(self.model_fields_set - {"file"})
        if self.file is not None and others:
            raise ValueError(f"the file says how it was made: leave out {', '.join(others)}, or file")
        if self.file is None and self.q_max is None and self.residual_variance is None:
            raise ValueError("q_max, residual_variance or file is missing: how many functions to keep")
        return self

    def make(
        self,
        basis: AnyRadialBasis,
        frames: Iterable[Frame],
        species: Sequence[int],
        *,
        centres: Selection | None = None,
        neighbours: Selection | None = None,
        centre_contribution: bool = True,
        tolerance: float = 1e-8,
    ) -> Contraction:
        """The contraction for this basis and these species of neighbours; arguments as for `Covariance.of`.

        frames: those at hand. `InputError`: a file is damaged or of another basis, the structures do not suffice.
        """
        if self.file is not None:
            from .contraction_file import load

            contraction = load(self.file)
            contraction.check(basis, species, str(self.file))
            return contraction.of_species(species)
        if self.structures is not None:
            frames = read_frames(self.structures)
        covariance = Covariance.of(
            basis,
            frames,
            species,
            centres=centres,
            neighbours=neighbours,
            centre_contribution=centre_contribution,
            tolerance=tolerance,
        )
        return covariance.contraction(mixed=self.mixed, q_max=self.q_max, residual_variance=self.residual_variance)

    def __str__(self) -> str:
        """For people."""
        if self.file is not None:
            return f"contraction {self.file}"
        return f"contraction of kind {self.kind!r}{', mixed' if self.mixed else ''}"


def read_frames(path: Path) -> Iterable[Frame]:
    """The structures of a file, one after the other."""
    from ..structures import read_structures

    return map(Frame.from_ase, read_structures(path))
