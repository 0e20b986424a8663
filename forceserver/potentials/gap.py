"""Sparse kernel models on SOAP features or multispectra (Gaussian approximation potentials), evaluated in reverse mode.

Positions -> expansion -> power spectrum -> kernel with all sparse points -> dE/dp -> dE/dc -> forces and virial: the
derivative costs about as much as the energy, whatever the number of features and sparse points. `models.kernel` has
the formula and the file; cython_ext/sparse_kernel.pyx the kernel.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from .. import _ext
from ..errors import InputError, shortened
from ..frame import Frame
from ..models import readers
from ..models.kernel import GapModel, SoapTerm
from ..sections import InputFile, Section
from .base import SKIN
from .model import ModelPotential, Term, Uncertainty

_kernel = _ext.kernel("sparse_kernel")


class GapConfig(Section):
    """`kind = "gap"`: a model from `forceserver fit` (.npz) or librascal (.json).

    precision: "single" for the products behind the forces; energies are always in double precision.
    uncertainty: send the energies of the model's eight members and their standard deviation; "atoms": also that of the
        energy of each atom; "forces": also forces and virials of the members, at nine times the cost.
    """

    kind: Literal["gap"]
    model: InputFile
    precision: Literal["double", "single"] = "double"
    uncertainty: Uncertainty = False
    skin_angstrom: float = Field(default=SKIN, ge=0)

    def build(self, template: Frame) -> "GapPotential":
        """The potential; `InputError` if the file is damaged, or lacks members for a requested uncertainty."""
        return GapPotential(
            read_gap_model(self.model),
            precision=self.precision,
            uncertainty=self.uncertainty,
            skin=self.skin_angstrom,
        )


def read_gap_model(path: Path) -> GapModel:
    """Reads a kernel model, possibly of another program; `InputError` if it cannot be read or is of another kind."""
    model = readers.load(path, (GapModel,))
    if not isinstance(model, GapModel):
        raise InputError(f"model {path}: is a {model.FORMAT}, not a {GapModel.FORMAT}")
    return model


class GapPotential(ModelPotential):
    """A sparse kernel model as a potential.

    Neighbour lists and workspace are kept for each position in the batch.

    Args:
        model: the model; `load` reads one from a file.
        precision: "single" for the products behind the forces; energies are always in double precision.
        uncertainty: add the energies of the model's eight members (`committee_pot`, eV) and their standard deviation
            (`committee_uncertainty`, eV) to the extras. "atoms": also `atomic_uncertainty` (N,), eV, the standard
            deviation of the energy of each atom. "forces": also `committee_force` (8, N, 3), `committee_virial` and
            `committee_force_uncertainty`, at nine times the cost.
        skin: skin of the neighbour lists, Angstrom.

    Attributes:
        model: the model.

    Raises:
        InputError: it is no kernel model, an uncertainty is requested from one without members, or its features or
            pair potentials cannot be computed.
    """

    def __init__(
        self,
        model: GapModel,
        *,
        precision: Literal["double", "single"] = "double",
        uncertainty: Uncertainty = False,
        skin: float = SKIN,
    ) -> None:
        if not isinstance(model, GapModel):
            raise InputError(
                f"GapPotential: {shortened(model)} is not a GapModel; GapPotential.load reads one from a file"
            )
        if precision not in ("double", "single"):
            raise InputError(f'precision = {precision!r} should be "double" or "single"')
        single = precision == "single"
        super().__init__(
            model, lambda: [_at_work(term, model, single, bool(uncertainty)) for term in model.soap], uncertainty, skin
        )

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> "GapPotential":
        """Reads a model file.

        Args:
            path: an .npz file from `forceserver fit`, or a .json file from librascal.
            options: `precision`, `uncertainty`, `skin`.

        Returns:
            The potential.

        Raises:
            InputError: the file cannot be read or is damaged, or it lacks members for a requested uncertainty.
        """
        return cls(read_gap_model(Path(path)), **options)


def _at_work(term: SoapTerm, model: GapModel, single: bool, members: bool) -> Term:
    basis = term.describer(model.species)
    cutoff = basis.expansion.cutoff
    return Term(lambda around: basis.at(around.within(cutoff)), _kernels_of(term, single, members))


def _kernels_of(term: SoapTerm, single: bool, members: bool) -> dict:
    return {
        species: _kernel.SparseKernel(
            points,
            term.weights[species],
            term.members[species] if members and term.members else None,
            term.hypers.zeta,
            single,
        )
        for species, points in term.points.items()
    }
