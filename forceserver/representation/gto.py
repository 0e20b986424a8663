"""Gaussian-type orbitals r^n exp(-r^2 / 2 sigma_n^2), of which the Gaussian density has an analytic integral.

Primitives, n = 0 .. n_max - 1, the same for every l:  N_n r^n exp(-b_n r^2) with b_n = 1 / 2 sigma_n^2,
sigma_n = r_c max(sqrt(n), 1) / n_max, N_n^2 = 2 / (sigma_n^(2n + 3) Gamma(n + 3/2)). They are Loewdin-orthonormalised
with their overlap on [0, inf). With a = 1 / 2 sigma^2, alpha = (n + l + 3) / 2 and beta = l + 3/2 the integral of a
primitive is

    4 pi (pi sigma^2)^(-3/4) N_n sqrt(pi)/4 Gamma(alpha)/Gamma(beta) (a r)^l (a + b_n)^(-alpha)
        exp(-a r^2) 1F1(alpha, beta, a^2 r^2 / (a + b_n))

(https://dlmf.nist.gov/10.32 and 13.4 after expanding i_l; Musil et al., J. Chem. Phys. 154, 114109 (2021)).
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import special

from ..frame import Array
from .radial import RadialBasis


class GtoBasis(RadialBasis):
    """Gaussian-type orbitals, orthonormal on [0, inf); featomic's `Gto` with `max_radial = n_max - 1`."""

    kind: Literal["gto"] = "gto"

    def primitives(self, r: Array) -> Array:
        value, _ = _primitives(r, self.n_max, self.cutoff.cutoff_angstrom)
        return np.repeat(value[:, None], self.l_max + 1, axis=1)

    def functions(self, r: Array) -> tuple[Array, Array]:
        rotation = _loewdin(self.n_max, self.cutoff.cutoff_angstrom)
        value, derivative = (f @ rotation for f in _primitives(r, self.n_max, self.cutoff.cutoff_angstrom))
        shape = (len(r), self.l_max + 1, self.n_max)
        return np.broadcast_to(value[:, None], shape), np.broadcast_to(derivative[:, None], shape)

    def gaussian_integrals(self, r: Array, sigma: float) -> tuple[Array, Array]:
        radius = self.cutoff.cutoff_angstrom
        widths, norms = _widths(self.n_max, radius)
        r = np.maximum(r, 1e-100)[:, None, None]
        n = np.arange(self.n_max)
        l = np.arange(self.l_max + 1)[:, None]  # noqa: E741
        a, b = 0.5 / sigma**2, 0.5 / widths**2
        alpha, beta = (n + l + 3) / 2, l + 1.5
        x = a**2 * r**2 / (a + b)
        prefactor = 4 * np.pi * (np.pi * sigma**2) ** -0.75 * norms * np.sqrt(np.pi) / 4
        prefactor = prefactor * special.gamma(alpha) / special.gamma(beta) * (a * r) ** l * (a + b) ** -alpha
        prefactor = prefactor * np.exp(-a * b / (a + b) * r**2)
        value = prefactor * special.hyp1f1(beta - alpha, beta, -x)
        shifted = prefactor * alpha / beta * special.hyp1f1(beta - alpha, beta + 1, -x)
        derivative = (l / r - 2 * a * r) * value + 2 * x / r * shifted
        rotation = _loewdin(self.n_max, radius)
        return value @ rotation, derivative @ rotation


def _widths(n_max: int, radius: float) -> tuple[Array, Array]:
    """sigma_n and N_n."""
    n = np.arange(n_max)
    widths = radius * np.sqrt(np.maximum(n, 1)) / n_max
    return widths, np.sqrt(2 / (widths ** (2 * n + 3) * special.gamma(n + 1.5)))


def _primitives(r: Array, n_max: int, radius: float) -> tuple[Array, Array]:
    widths, norms = _widths(n_max, radius)
    r = np.maximum(r, 1e-100)[:, None]
    n = np.arange(n_max)
    value = norms * r**n * np.exp(-0.5 * (r / widths) ** 2)
    return value, (n / r - r / widths**2) * value


@lru_cache(maxsize=32)
def _loewdin(n_max: int, radius: float) -> Array:
    """The symmetric matrix S^(-1/2) (n_max, n_max) of the primitives' overlap S on [0, inf)."""
    widths, norms = _widths(n_max, radius)
    n = np.arange(n_max)
    power = (n + n[:, None] + 3) / 2
    exponent = 0.5 / widths**2 + 0.5 / widths[:, None] ** 2
    overlap = norms * norms[:, None] * special.gamma(power) / (2 * exponent**power)
    eigenvalues, vectors = np.linalg.eigh(overlap)
    return vectors / np.sqrt(eigenvalues) @ vectors.T
