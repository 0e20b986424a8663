"""Orthogonal polynomials of a transformed distance, for point densities: the radial basis of the cluster expansion.

A distance r is first transformed to x(r), to increase the resolution at bond lengths, then scaled to y = -1 at the
inner end and y = 1 at the cutoff. With the envelope e(y) = ((1 - y)/2)^p ((1 + y)/2)^q, which vanishes smoothly at the
cutoff and, if q > 0, at the inner end,

    R_n(r) = N_n P_n(y) e(y),    n = 0 .. n_max - 1, the same for every l

`jacobi` are the polynomials P_n^(2p, 2q), which make R_n orthonormal in y (https://dlmf.nist.gov/18.3); `legendre` and
`chebyshev` are orthonormal without the envelope. They span the same functions; a prior of smoothness tells them apart.

Transforms, with s = r / r_0:

    polynomial   x = ((1 + r_0) / (1 + r))^p, r in Angstrom (Dusson et al., J. Comput. Phys. 454, 110946 (2022))
    agnesi       x = 1 / (1 + a s^q / (1 + s^(q - p))), steepest at r_0
                 (Witt et al., J. Chem. Phys. 159, 164101 (2023))
    affine       x = r

r_0, and the core within which functions become constant, may be tables by pairs of species; `PolynomialBasis.of_pair`
has the functions of a pair, and only these can be evaluated.
"""

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import scipy
from pydantic import Field, model_validator

from ..frame import Array
from ..sections import Section
from .lengths import Lengths, of_pair
from .radial import DiracDelta, RadialBasis, checked_distances

CORE_WIDTH = 0.1  # fraction of the core radius over which functions become constant


class PolynomialTransform(Section):
    """x = ((1 + r_0) / (1 + r))^power: the larger the power, the more resolution there is at short distances."""

    kind: Literal["polynomial"] = "polynomial"
    r0_angstrom: Annotated[float, Field(gt=0)] | Lengths
    power: float = Field(default=2.0, gt=0, le=8)

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """x and dx/dr (1/Angstrom) at the distances r."""
        x = ((1 + _one(self.r0_angstrom)) / (1 + r)) ** self.power
        return x, -self.power * x / (1 + r)


class AgnesiTransform(Section):
    """x = 1 / (1 + a s^q / (1 + s^(q - p))), s = r / r_0; q > p, and a makes the slope steepest at r_0."""

    kind: Literal["agnesi"] = "agnesi"
    r0_angstrom: Annotated[float, Field(gt=0)] | Lengths
    p: int = Field(default=2, ge=1, le=8)
    q: int = Field(default=4, ge=2, le=12)

    @model_validator(mode="after")
    def _q_is_larger(self) -> "AgnesiTransform":
        if self.q <= self.p:
            raise ValueError(f"q = {self.q} must be larger than p = {self.p}")
        return self

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """x and dx/dr (1/Angstrom) at the distances r."""
        p, q = self.p, self.q
        a = (-2 * q + p * (-2 + 4 * q)) / (p + p**2 + q + q**2)
        r0 = _one(self.r0_angstrom)
        s = np.asarray(r, dtype=np.float64) / r0
        below = 1 + s ** (q - p)
        t = a * s**q / below
        slope = a * (q * s ** (q - 1) / below - (q - p) * s**q * s ** (q - p - 1) / below**2) / r0
        x = 1 / (1 + t)
        return x, -slope * x**2


class AffineTransform(Section):
    """x = r."""

    kind: Literal["affine"] = "affine"

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """x and dx/dr (1/Angstrom) at the distances r."""
        return np.asarray(r, dtype=np.float64), np.ones_like(r)


def _one(length: float | dict[str, float]) -> float:
    """The only one; tables are for `PolynomialBasis.of_pair`."""
    if isinstance(length, dict):
        raise ValueError(f"a length by pairs of species, {', '.join(length)}, has no value of its own")
    return length


Transform = Annotated[PolynomialTransform | AgnesiTransform | AffineTransform, Field(discriminator="kind")]


class Envelope(Section):
    """Where radial functions end, and how smoothly.

    exponent: p, of (1 - y) at the cutoff. inner_angstrom: distance below which all functions are zero if the
    inner_exponent q > 0; a repulsion must act there.
    core_angstrom: distance r_s within which functions become constant: they are evaluated at
    r_s - w tanh((r_s - r) / w), w = r_s / 10. Without data at such distances the polynomials must not extrapolate.
    """

    kind: Literal["envelope"] = "envelope"
    cutoff_angstrom: float = Field(gt=0)
    exponent: int = Field(default=2, ge=2, le=8)
    inner_angstrom: float = Field(default=0.0, ge=0)
    inner_exponent: int = Field(default=0, ge=0, le=8)
    core_angstrom: Annotated[float, Field(ge=0)] | Lengths = 0.0

    @model_validator(mode="after")
    def _inner_is_inside(self) -> "Envelope":
        for name in ("inner_angstrom", "core_angstrom"):
            length = getattr(self, name)
            if max(length.values() if isinstance(length, dict) else [length]) >= self.cutoff_angstrom:
                raise ValueError(f"{name} must be smaller than cutoff_angstrom = {self.cutoff_angstrom:g}")
        if self.core_angstrom and self.inner_exponent > 0:
            raise ValueError(
                "core_angstrom and inner_exponent exclude each other: inside, functions are either constant or zero"
            )
        if self.inner_angstrom > 0 and self.inner_exponent < 2:
            raise ValueError(
                "inner_angstrom > 0 requires inner_exponent >= 2, or forces would jump where the functions begin"
            )
        return self

    @property
    def smoothing_starts(self) -> float:
        """Distance (Angstrom) at which derivatives may jump, other than the cutoff."""
        return max(self.inner_angstrom, _one(self.core_angstrom))

    def outside_the_core(self, r: Array) -> tuple[Array, Array]:
        """The distances (Angstrom) at which functions are evaluated, and their derivatives with respect to r."""
        core = _one(self.core_angstrom)
        if core == 0:
            return r, np.ones_like(r)
        width = CORE_WIDTH * core
        depth = np.tanh(np.maximum(core - r, 0) / width)
        within = r < core
        return np.where(within, core - width * depth, r), np.where(within, 1 - depth**2, 1.0)


class PolynomialBasis(RadialBasis):
    """Polynomials of a transformed distance under an envelope; for point densities only."""

    kind: Literal["polynomial"] = "polynomial"
    cutoff: Envelope  # type: ignore[assignment]  # another kind of cutoff than that of densities
    density: DiracDelta = DiracDelta()
    scaling: None = None
    transform: Transform
    polynomials: Literal["jacobi", "legendre", "chebyshev"] = "jacobi"

    @property
    def by_pair(self) -> bool:
        """Whether a length differs between pairs of species."""
        return isinstance(self.cutoff.core_angstrom, dict) or isinstance(
            getattr(self.transform, "r0_angstrom", None), dict
        )

    def of_pair(self, first: int, second: int) -> "PolynomialBasis":
        """The basis for a pair of species (atomic numbers), without tables; `ValueError` if one lacks the pair."""
        transform, cutoff = self.transform, self.cutoff
        if not isinstance(transform, AffineTransform):
            r0 = of_pair(transform.r0_angstrom, first, second, "transform.r0_angstrom")
            transform = transform.model_copy(update={"r0_angstrom": r0})
        core = of_pair(cutoff.core_angstrom, first, second, "cutoff.core_angstrom")
        cutoff = cutoff.model_copy(update={"core_angstrom": core})
        return self.model_copy(update={"transform": transform, "cutoff": cutoff})

    def functions(self, r: Array) -> tuple[Array, Array]:
        """R_n(r) and derivatives; the envelope is part of them."""
        r = checked_distances(r)
        inner, outer, p, q = (
            self.cutoff.inner_angstrom,
            self.cutoff.cutoff_angstrom,
            self.cutoff.exponent,
            self.cutoff.inner_exponent,
        )
        begin, end = self.transform.evaluate(np.array([inner, outer]))[0]
        taken, by_r = self.cutoff.outside_the_core(r)
        x, slope = self.transform.evaluate(np.clip(taken, inner, outer))
        scale = 2 * by_r / (end - begin)
        value, derivative = _enveloped(
            np.clip(2 * (x - begin) / (end - begin) - 1, -1.0, 1.0), self.n_max, self.polynomials, p, q
        )
        derivative = derivative * (scale * slope)[:, None]
        outside = (r >= outer) | ((r < inner) & (q > 0))
        value[outside], derivative[outside] = 0.0, 0.0
        shape = (len(r), self.l_max + 1, self.n_max)
        value, derivative = (np.broadcast_to(f[:, None], shape) for f in (value, derivative))
        return value, derivative

    def gaussian_integrals(self, r: Array, sigma: float) -> tuple[Array, Array]:
        raise NotImplementedError("PolynomialBasis: point densities only")

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        return self.functions(r)


def _enveloped(y: Array, n_max: int, kind: str, p: int, q: int) -> tuple[Array, Array]:
    """N_n P_n(y) e(y) and derivatives with respect to y, each (k, n_max)."""
    alpha, beta = {"jacobi": (2.0 * p, 2.0 * q), "legendre": (0.0, 0.0), "chebyshev": (-0.5, -0.5)}[kind]
    left, right = 0.5 * (1 - y), 0.5 * (1 + y)
    envelope = left**p * right**q
    slope = -0.5 * p * left ** (p - 1) * right**q + (0.5 * q * left**p * right ** (q - 1) if q else 0.0)
    norms = _norms(n_max, alpha, beta) * (2.0 ** (p + q) if kind == "jacobi" else 1.0)
    orders = np.arange(n_max)
    value = scipy.special.eval_jacobi(orders, alpha, beta, y[:, None])
    lower = scipy.special.eval_jacobi(np.maximum(orders - 1, 0), alpha + 1, beta + 1, y[:, None])
    derivative = np.where(orders > 0, 0.5 * (orders + alpha + beta + 1), 0.0) * lower
    return norms * value * envelope[:, None], norms * (derivative * envelope[:, None] + value * slope[:, None])


@lru_cache(maxsize=32)
def _norms(n_max: int, alpha: float, beta: float) -> Array:
    """1 / sqrt of the integrals of P_n^2 (1 - y)^alpha (1 + y)^beta over [-1, 1]."""
    points, weights = scipy.special.roots_jacobi(n_max + 1, alpha, beta)
    values = scipy.special.eval_jacobi(np.arange(n_max), alpha, beta, points[:, None])
    return 1 / np.sqrt(weights @ values**2)
