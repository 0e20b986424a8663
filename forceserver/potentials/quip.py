"""Potentials of QUIP's `gap_fit`, which `gap_xml` reads as sparse kernel models of this program."""

from typing import Literal

from pydantic import Field

from ..frame import Frame
from ..sections import InputFile, Section
from .base import SKIN
from .gap import GapPotential, read_gap_model


class QuipConfig(Section):
    """`kind = "quip"`: a potential of `gap_fit` (.xml, with its sparseX files), or one that `convert` has made (.npz).

    precision: "single" for the products behind the forces; energies are always in double precision.
    """

    kind: Literal["quip"]
    model: InputFile
    precision: Literal["double", "single"] = "double"
    skin_angstrom: float = Field(default=SKIN, ge=0)

    def build(self, template: Frame) -> GapPotential:
        """The potential; `InputError` if the files are damaged, or contain what cannot be computed."""
        return GapPotential(read_gap_model(self.model), precision=self.precision, skin=self.skin_angstrom)
