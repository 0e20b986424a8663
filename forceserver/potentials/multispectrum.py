"""Linear models of multispectra.

Positions -> coefficients -> products and components of all orders -> dE/dc by reverse mode -> forces and virial.
`models.multispectrum` has the formula.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..frame import Array, Frame
from ..models.multispectrum import MultispectrumModel
from ..representation.multispectrum import MultispectrumFeatures
from ..sections import InputFile, Section
from .base import SKIN
from .model import ModelPotential, Term


class MultispectrumPotentialConfig(Section):
    """`kind = "multispectrum"`: a model (.npz) that `forceserver.fit.multispectrum_ridge.fit_ridge` has made."""

    kind: Literal["multispectrum"]
    model: InputFile
    skin_angstrom: float = Field(default=SKIN, ge=0)

    def build(self, template: Frame) -> "MultispectrumPotential":
        """The potential; `InputError` if the file is damaged."""
        return MultispectrumPotential.load(self.model, skin=self.skin_angstrom)


class MultispectrumPotential(ModelPotential):
    """A model at work; errors are those of `ModelPotential`. Its models have no members, hence no uncertainty."""

    def __init__(self, model: MultispectrumModel, *, uncertainty: bool = False, skin: float = SKIN) -> None:
        super().__init__(model, lambda: [_at_work(model)], uncertainty, skin)

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> "MultispectrumPotential":
        """The potential of a model file; option `skin`. `InputError` if the file is damaged."""
        return cls(MultispectrumModel.load(Path(path)), **options)


def _at_work(model: MultispectrumModel) -> Term:
    features = model.multispectrum()
    kernels = {species: LinearKernel(weights) for species, weights in model.weights.items()}
    cutoff = features.expansion.cutoff
    return Term(lambda around: MultispectrumFeatures(features, around.within(cutoff)), kernels)


class LinearKernel:
    """The energies of atoms of one species; weights (F,) in eV."""

    def __init__(self, weights: Array) -> None:
        self._weights = weights

    def evaluate(self, features: Array, energies: Array, gradient: Array, members: Array) -> None:
        """See `model.Kernel`; there are no members."""
        energies[:] = features @ self._weights
        gradient[:] = np.broadcast_to(self._weights, gradient.shape)
