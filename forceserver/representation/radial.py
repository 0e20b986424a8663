"""Radial bases: the contribution of a neighbour at distance r to the coefficient of radial function n and degree l.

With the density of one neighbour and an orthonormal radial basis R_nl, the exact function (before splining) is

    F_nl(r) = f_c(r) u(r) I_nl(r)
    I_nl(r) = R_nl(r)                                                                   density = DiracDelta (ACE)
    I_nl(r) = 4 pi (pi sigma^2)^(-3/4) int_0^inf r'^2 R_nl(r') K_l(r, r') dr'           density = Gaussian (SOAP)
    K_l(r, r') = exp(-(r^2 + r'^2) / 2 sigma^2) i_l(r r' / sigma^2)

with the cutoff function f_c, the radial scaling u and the modified spherical Bessel function i_l (Bartok, Kondor,
Csanyi, Phys. Rev. B 87, 184115 (2013)); the Gaussian has unit L2 norm. The values equal those of featomic.

A basis is a configuration section (in TOML and in models) that can evaluate its functions; `spline.SplineTable`
tabulates them for the kernels.
"""

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
import scipy
from pydantic import Field, model_validator

from ..frame import Array
from ..sections import Section
from .cutoff import LongAlgebraic, ShiftedCosine

N_MAX = 20
L_MAX = 12
NARROWEST = 1 / 50  # the narrowest Gaussian, in cutoffs, for which series and quadratures are accurate


class Gaussian(Section):
    """Every neighbour is a Gaussian exp(-r^2 / 2 sigma^2) with unit L2 norm."""

    kind: Literal["gaussian"] = "gaussian"
    sigma_angstrom: float = Field(gt=0)


class DiracDelta(Section):
    """Every neighbour is a point: I_nl(r) is R_nl(r) itself."""

    kind: Literal["dirac_delta"] = "dirac_delta"


Density = Annotated[Gaussian | DiracDelta, Field(discriminator="kind")]


class RadialBasis(Section):
    """Base of the radial bases: n_max radial functions for each l = 0 .. l_max.

    Raises pydantic's `ValueError`, which names the field and its range, if a value is out of range.
    """

    n_max: int = Field(ge=1, le=N_MAX)
    l_max: int = Field(ge=0, le=L_MAX)
    cutoff: ShiftedCosine
    density: Density
    scaling: LongAlgebraic | None = None

    @model_validator(mode="after")
    def _resolvable(self):
        least = self.cutoff.cutoff_angstrom * NARROWEST
        if isinstance(self.density, Gaussian) and self.density.sigma_angstrom < least:
            raise ValueError(
                f"density.sigma_angstrom = {self.density.sigma_angstrom:g} must be at least "
                f"a fiftieth of the cutoff, {least:g}"
            )
        return self

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of radial functions that are used for each l, the first ones of n_max."""
        return (self.n_max,) * (self.l_max + 1)

    @abstractmethod
    def functions(self, r: Array) -> tuple[Array, Array]:
        """The orthonormal R_nl(r) and their derivatives, each (k, l_max + 1, n_max), Angstrom^(-3/2) and ^(-5/2)."""

    def primitives(self, r: Array) -> Array:
        """The normalised functions (k, l_max + 1, n_max) from which `functions` follow by Loewdin's orthonormalisation.

        The same as `functions` for bases that are already orthonormal.
        """
        return self.functions(r)[0]

    @abstractmethod
    def gaussian_integrals(self, r: Array, sigma: float) -> tuple[Array, Array]:
        """I_nl(r) of the Gaussian density and its derivative, each (k, l_max + 1, n_max)."""

    def integrals(self, r: Array) -> tuple[Array, Array]:
        """I_nl(r) and its derivative, each (k, l_max + 1, n_max), without cutoff and scaling."""
        r = checked_distances(r)
        if isinstance(self.density, Gaussian):
            return self.gaussian_integrals(r, self.density.sigma_angstrom)
        return self.functions(r)

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """F_nl(r) and dF_nl/dr at the distances `r` (k,) in Angstrom, each (k, l_max + 1, n_max).

        Raises `ValueError` if `r` is not one-dimensional, finite and non-negative.
        """
        r = checked_distances(r)
        value, derivative = self.integrals(np.minimum(r, self.cutoff.cutoff_angstrom))
        weight, slope = self.cutoff.evaluate(r)
        if self.scaling is not None:
            u, du = self.scaling.evaluate(r)
            weight, slope = weight * u, slope * u + weight * du
        weight, slope = weight[:, None, None], slope[:, None, None]
        return weight * value, weight * derivative + slope * value


def checked_distances(r: Array) -> Array:
    """`r` as float64; `ValueError` if it is not one-dimensional, finite and non-negative."""
    r = np.asarray(r, dtype=np.float64)
    if r.ndim != 1 or not np.all(np.isfinite(r)) or np.any(r < 0):
        raise ValueError(f"r must be a one-dimensional array of finite distances >= 0, got shape {r.shape}")
    return r


def gaussian_kernel(r: Array, r_prime: Array, sigma: float, l_max: int) -> tuple[Array, Array]:
    """4 pi (pi sigma^2)^(-3/4) K_l(r, r') and its derivative with respect to r, each (l_max + 1, k, k').

    From i_l' = i_(l+1) + l/z i_l (https://dlmf.nist.gov/10.51#E5), with exp(-z) i_l(z) from scipy.
    """
    r, r_prime = np.maximum(r, 1e-100)[:, None], np.maximum(r_prime, 1e-100)  # the limit -> 0, without 0/0
    degrees = np.arange(l_max + 2)[:, None, None]
    z = r * r_prime / sigma**2
    prefactor = 4 * np.pi * (np.pi * sigma**2) ** -0.75 * np.exp(-0.5 * ((r - r_prime) / sigma) ** 2)
    kernel = prefactor * np.sqrt(0.5 * np.pi / z) * scipy.special.ive(degrees + 0.5, z)
    value = kernel[:-1]
    derivative = (r_prime * kernel[1:] - r * value) / sigma**2 + degrees[:-1] / r * value
    return value, derivative


def gauss_legendre(n: int, end: float) -> tuple[Array, Array]:
    """Points and weights of the Gauss-Legendre quadrature on [0, end]."""
    points, weights = scipy.special.roots_legendre(n)
    return 0.5 * end * (points + 1), 0.5 * end * weights
