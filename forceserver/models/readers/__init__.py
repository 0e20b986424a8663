"""Readers of models of other programs, which become models of this one.

A reader turns a file into a `Model`, and rejects, by name, whatever this program does not support. From then on the
origin of the model does not matter: it is evaluated, described and saved like one made by `forceserver fit`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..base import Model, read_model
from . import gap_xml, librascal, yace

READERS: dict[str, Callable[[Path], Model]] = {
    ".json": librascal.load,
    ".xml": gap_xml.load,
    ".yace": yace.load,
    ".ace": yace.load,
    ".yaml": yace.load,
}
"""The reader for each file name extension."""


def load(path: Path, kinds: tuple[type[Model], ...]) -> Any:
    """The model in a file of another program, or of one of these kinds; `InputError` if it cannot be read."""
    reader = READERS.get(path.suffix.lower())
    return read_model(path, kinds) if reader is None else reader(path)
