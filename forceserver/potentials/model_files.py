"""Model files of every kind that this program reads, and their potentials."""

from inspect import signature
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import InputError, shortened
from ..models import readers
from ..models.ace import AceModel
from ..models.base import Model
from ..models.kernel import GapModel
from ..models.multispectrum import MultispectrumModel
from ..models.pace import PaceModel
from ..sections import check_arguments
from .ace import AcePotential
from .gap import GapPotential
from .model import ModelPotential
from .multispectrum import MultispectrumPotential
from .pace import PacePotential

POTENTIALS: dict[type[Model], type[ModelPotential]] = {
    GapModel: GapPotential,
    AceModel: AcePotential,
    PaceModel: PacePotential,
    MultispectrumModel: MultispectrumPotential,
}

KINDS: dict[type[Model], str] = {
    GapModel: "gap",
    AceModel: "ace",
    PaceModel: "pace",
    MultispectrumModel: "multispectrum",
}
"""What the section [potential] calls them."""


def is_model_file(path: Path) -> bool:
    """Whether a file is a model, by its ending."""
    return path.suffix.lower() in (".npz", *readers.READERS)


def load_model(path: Path) -> Model:
    """The model in a file of `forceserver fit` or `convert` (.npz), or of another program.

    `InputError` if it is damaged.
    """
    return readers.load(path, tuple(POTENTIALS))


def potential_of(model: Model, **options: Any) -> ModelPotential:
    """The potential of a model; options as for its class, `InputError` for one that this kind does not have."""
    kind = POTENTIALS[type(model)]
    check_arguments(options, set(signature(kind).parameters) - {"model"}, f"options of a {kind.__name__}")
    return kind(model, **options)


def load_potential(path: str | Path, **options: Any) -> ModelPotential:
    """The potential of a model file; errors as for `load_model` and `potential_of`."""
    if not isinstance(path, str | PathLike):
        raise InputError(f"{shortened(path)} is not the path of a model file")
    return potential_of(load_model(Path(path)), **options)
