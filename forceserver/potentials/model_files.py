"""Model files of every kind that this program reads, and their potentials."""

from pathlib import Path
from typing import Any

from ..errors import InputError
from ..models.ace import AceModel
from ..models.base import Model
from ..models.kernel import GapModel
from . import foreign
from .ace import AcePotential
from .gap import GapPotential
from .model import ModelPotential

POTENTIALS: dict[type[Model], type[ModelPotential]] = {GapModel: GapPotential, AceModel: AcePotential}


def load_model(path: Path) -> Model:
    """The model in an .npz file of `forceserver fit`, or a file of another program; `InputError` if it is damaged."""
    return foreign.load(path, tuple(POTENTIALS))


def potential_of(model: Model, **options: Any) -> ModelPotential:
    """A model at work; options as for its potential, `InputError` for one that this kind does not have."""
    kind = POTENTIALS[type(model)]
    try:
        return kind(model, **options)
    except TypeError as error:
        raise InputError(f"a {model.FORMAT} has no such option: {error}") from error


def load_potential(path: str | Path, **options: Any) -> ModelPotential:
    """The potential of a model file; errors as for `load_model` and `potential_of`."""
    return potential_of(load_model(Path(path)), **options)
