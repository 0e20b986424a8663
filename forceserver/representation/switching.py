"""Switching functions: one for near neighbours, zero for distant ones.

With x = (r - d_0) / r_0, every function s'(r) is 1 for x <= 0 and decreases for x > 0; it is stretched to end at d_max:

    s(r) = (s'(r) - s'(d_max)) / (s'(0) - s'(d_max)),    0 for r >= d_max

They equal PLUMED's (https://www.plumed.org/doc-v2.10/user-doc/html/switchingfunction.html) with D_MAX, by name and
value, except EXP and TANH, which are left out because their forces jump at d_0. The forces of `rational` and `gaussian`
jump at d_max, by the remaining slope of s'; `cubic` and `cosine` end smoothly.
"""

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from ..frame import Array
from ..sections import Section
from .spline import SplineTable

LARGEST_RATIO = 1000.0  # largest (d_max - d_0) / r_0, so that powers stay within the range of doubles
NEAR_ONE = 1e-5


class SwitchingFunction(Section):
    """Base of all switching functions: where they begin to decrease, and where they end."""

    d0_angstrom: float = Field(default=0.0, ge=0, description="up to here the function is one")
    d_max_angstrom: float = Field(gt=0, description="from here on it is zero")

    @model_validator(mode="after")
    def _ends_after_it_begins(self):
        if self.d_max_angstrom <= self.d0_angstrom:
            raise ValueError(
                f"d_max_angstrom = {self.d_max_angstrom:g} must be larger than d0_angstrom = {self.d0_angstrom:g}"
            )
        if self.d_max_angstrom - self.d0_angstrom > LARGEST_RATIO * self.width:
            raise ValueError(f"d_max_angstrom must be within {LARGEST_RATIO:g} r0_angstrom of d0_angstrom")
        return self

    @property
    def width(self) -> float:
        """r_0 in Angstrom."""
        return self.d_max_angstrom - self.d0_angstrom

    @abstractmethod
    def falling(self, x: Array) -> tuple[Array, Array]:
        """s' and ds'/dx for x > 0, (k,)."""

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """s and ds/dr (1/Angstrom) at the distances `r` (k,) >= 0 in Angstrom."""
        r = np.asarray(r, dtype=np.float64)
        value, slope = self._unstretched(r)
        ends = self._unstretched(np.array([0.0, self.d_max_angstrom]))[0]
        stretch = 1 / (ends[0] - ends[1])
        inside = r < self.d_max_angstrom
        return np.where(inside, (value - ends[1]) * stretch, 0.0), np.where(inside, slope * stretch, 0.0)

    def table(self, counts: tuple[int, ...], tolerance: float) -> SplineTable:
        """Splines with this function in every channel, `counts` of them for each l; errors as for `SplineTable.fit`."""
        channels = sum(counts)

        def functions(r: Array) -> tuple[Array, Array]:
            # just inside d_max: the last interval needs the slope there
            value, slope = self.evaluate(np.minimum(r, np.nextafter(self.d_max_angstrom, 0.0)))
            return np.repeat(value[:, None], channels, axis=1), np.repeat(slope[:, None], channels, axis=1)

        return SplineTable.fit(functions, self.d_max_angstrom, self.d0_angstrom, counts, tolerance)

    def _unstretched(self, r: Array) -> tuple[Array, Array]:
        x = (r - self.d0_angstrom) / self.width
        falls = x > 0
        value, slope = np.ones_like(r), np.zeros_like(r)
        value[falls], slope[falls] = self.falling(x[falls])
        return value, slope / self.width


class _Scaled(SwitchingFunction):
    """Base of the functions with a length r_0 of their own."""

    r0_angstrom: float = Field(gt=0, description="the length over which the function decreases")

    @property
    def width(self) -> float:
        return self.r0_angstrom


class Rational(_Scaled):
    """s' = (1 - x^n) / (1 - x^m); m = 2 n by default, which is 1 / (1 + x^n)."""

    kind: Literal["rational"] = "rational"
    n: int = Field(default=6, ge=2, le=48)
    m: int | None = Field(default=None, ge=3, le=96, description="larger than n; 2 n by default")

    @model_validator(mode="after")
    def _m_is_larger(self) -> "Rational":
        if self.m is not None and self.m <= self.n:
            raise ValueError(f"m = {self.m} must be larger than n = {self.n}")
        return self

    def falling(self, x: Array) -> tuple[Array, Array]:
        n, m = self.n, self.m or 2 * self.n
        if m == 2 * n:
            value = 1 / (1 + x**n)
            return value, -n * x ** (n - 1) * value**2
        t = np.log(x)  # (1 - x^n) / (1 - x^m) without 0/0
        near = np.abs(t) < NEAR_ONE
        safe = np.where(near, 1.0, t)
        value = np.where(near, n / m * (1 + (n - m) / 2 * t), np.expm1(n * safe) / np.expm1(m * safe))
        logarithmic = np.where(
            near,
            (n - m) / 2 + (n**2 - m**2) / 12 * t,
            -n / np.expm1(-n * safe) + m / np.expm1(-m * safe),
        )
        return value, value * logarithmic / x


class GaussianSwitch(_Scaled):
    """s' = exp(-x^2 / 2)."""

    kind: Literal["gaussian"] = "gaussian"

    def falling(self, x: Array) -> tuple[Array, Array]:
        value = np.exp(-0.5 * x**2)
        return value, -x * value


class Cubic(SwitchingFunction):
    """s' = (x - 1)^2 (1 + 2 x), with r_0 = d_max - d_0."""

    kind: Literal["cubic"] = "cubic"

    def falling(self, x: Array) -> tuple[Array, Array]:
        return (x - 1) ** 2 * (1 + 2 * x), 6 * x * (x - 1)


class Cosine(SwitchingFunction):
    """s' = (1 + cos pi x) / 2, with r_0 = d_max - d_0; PLUMED's COSINUS."""

    kind: Literal["cosine"] = "cosine"

    def falling(self, x: Array) -> tuple[Array, Array]:
        return np.cos(0.5 * np.pi * x) ** 2, -0.5 * np.pi * np.sin(np.pi * x)


AnySwitchingFunction = Annotated[Rational | GaussianSwitch | Cubic | Cosine, Field(discriminator="kind")]
