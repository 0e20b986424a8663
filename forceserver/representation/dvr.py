"""Discrete variable representation: cardinal functions of a Gauss-Legendre quadrature.

With the points x_n and weights w_n of the quadrature with n_max points on [0, x_end], R_n is the polynomial of degree
n_max - 1 that is 1 / (x_n sqrt(w_n)) at x_n and zero at all other points. Under the quadrature these
functions are orthonormal, and the integral with a Gaussian density reduces to one positive number,

    I_nl(r) = 4 pi (pi sigma^2)^(-3/4) sqrt(w_n) x_n K_l(r, x_n),

which needs no orthonormalisation and no series (Light, Hamilton, Lill, J. Chem. Phys. 82, 1400 (1985); the `DVR` of
librascal). x_end is the cutoff for a point density; a Gaussian one reaches 3 sigma beyond it.
"""

from typing import Literal

import numpy as np

from ..frame import Array
from .radial import Gaussian, RadialBasis, checked_distances, gauss_legendre, gaussian_kernel


class DvrBasis(RadialBasis):
    """Gauss-Legendre discrete variable representation, the same functions for every l."""

    kind: Literal["dvr"] = "dvr"

    @property
    def _quadrature(self) -> tuple[Array, Array]:
        reach = 3 * self.density.sigma_angstrom if isinstance(self.density, Gaussian) else 0.0
        return gauss_legendre(self.n_max, self.cutoff.cutoff_angstrom + reach)

    def functions(self, r: Array) -> tuple[Array, Array]:
        r = checked_distances(r)
        points, weights = self._quadrature
        value, derivative = _cardinal(r, points)
        norms = 1 / (points * np.sqrt(weights))
        shape = (len(r), self.l_max + 1, self.n_max)
        value, derivative = (np.broadcast_to((f * norms)[:, None], shape) for f in (value, derivative))
        return value, derivative

    def gaussian_integrals(self, r: Array, sigma: float) -> tuple[Array, Array]:
        points, weights = self._quadrature
        value, derivative = (
            np.moveaxis(kernel, 0, 1) * (np.sqrt(weights) * points)
            for kernel in gaussian_kernel(r, points, sigma, self.l_max)
        )
        return value, derivative


def _cardinal(r: Array, points: Array) -> tuple[Array, Array]:
    """Lagrange's polynomials of the points at r, and their derivatives, each (k, n)."""
    n = len(points)
    value = np.ones((len(r), n))
    derivative = np.zeros((len(r), n))
    for m in range(n):
        others = np.arange(n) != m
        gap = points[others] - points[m]
        x = (r - points[m])[:, None]
        derivative[:, others] = (derivative[:, others] * x + value[:, others]) / gap
        value[:, others] *= x / gap
    return value, derivative
