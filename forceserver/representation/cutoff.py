"""Weights of a neighbour that depend on its distance: the cutoff function and the radial scaling.

Both are configuration sections, read from TOML and stored in models, with methods to evaluate them. They multiply the
radial integral at the distance of the neighbour, not its density point by point.
"""

from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from ..frame import Array
from ..sections import Section


class ShiftedCosine(Section):
    """One inside, zero outside, half a cosine period between `cutoff - width` and `cutoff`; as in featomic.

    f(r) = (1 + cos(pi (r - r_c + w) / w)) / 2 for r_c - w <= r < r_c. The second derivative jumps at both ends.
    """

    kind: Literal["shifted_cosine"] = "shifted_cosine"
    cutoff_angstrom: float = Field(gt=0)
    width_angstrom: float = Field(gt=0)

    @field_validator("width_angstrom")
    @classmethod
    def _not_wider_than_cutoff(cls, width: float, info) -> float:
        cutoff = info.data.get("cutoff_angstrom")
        if cutoff is not None and width > cutoff:
            raise ValueError(f"the smoothing width must be in (0, cutoff_angstrom = {cutoff:g}]")
        return width

    @property
    def smoothing_starts(self) -> float:
        """Distance in Angstrom below which the function is one."""
        return self.cutoff_angstrom - self.width_angstrom

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """Values and derivatives (1/Angstrom) at the distances `r` (any shape, Angstrom)."""
        x = np.clip((self.cutoff_angstrom - np.asarray(r, dtype=np.float64)) / self.width_angstrom, 0.0, 1.0)
        value = np.sin(0.5 * np.pi * x) ** 2  # not 1 + cos, which loses all digits where the function ends
        derivative = np.where(x < 1.0, -0.5 * np.pi / self.width_angstrom * np.sin(np.pi * x), 0.0)
        return value, derivative


class LongAlgebraic(Section):
    """Radial scaling u(r) = c / (c + (r / r_0)^m) with rate c, scale r_0 and exponent m, one at r = 0.

    Willatt, Musil, Ceriotti, Phys. Chem. Chem. Phys. 20, 29661 (2018), doi:10.1039/C8CP05921G; `Willatt2018` of
    featomic, `RadialScaling` of librascal.
    """

    kind: Literal["long_algebraic"] = "long_algebraic"
    rate: float = Field(gt=0)
    scale_angstrom: float = Field(gt=0)
    exponent: int = Field(ge=0, le=32)

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """Values and derivatives (1/Angstrom) at the distances `r` (any shape, Angstrom)."""
        r = np.asarray(r, dtype=np.float64)
        if self.exponent == 0:
            return np.ones_like(r), np.zeros_like(r)
        x = r / self.scale_angstrom
        value = self.rate / (self.rate + x**self.exponent)
        slope = -self.exponent / (self.rate * self.scale_angstrom) * x ** (self.exponent - 1)
        return value, slope * value**2
