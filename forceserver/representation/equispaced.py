"""Gaussians at equal distances, on which a Gaussian density is interpolated: the radial basis of QUIP.

With a = 1 / 2 sigma^2 and the points r_k = k d, k = 0 .. n_max - 1, n_max d = r_c + sigma sqrt(20 ln 10), the functions
are g_k(r) = exp(-a (r - r_k)^2), the same for every l. Their overlap on [0, inf),

    S_jk = int_0^inf r^2 g_j g_k dr = exp(-a (r_j - r_k)^2 / 2)
           [ (m^2 + 1/4a) sqrt(pi / 2a) (1 + erf(m sqrt(2a))) / 2 + m exp(-2 a m^2) / 4a ],   m = (r_j + r_k) / 2,

has the Cholesky factor L, S = L L^T, so that R = L^-1 g is orthonormal. A neighbour's density, K_l(r, r') of
`radial.gaussian_kernel`, is not projected on the functions but interpolated: the combination of all g_k that has its
values at all points r' = r_k, which takes the inverse of C_jk = g_k(r_j). In the orthonormal functions that is

    I_nl(r) = 4 pi (pi sigma^2)^(-3/4) sum_jk K_l(r, r_j) (C^-1)_jk L_kn,

equal to QUIP's numbers except for the prefactor. Formulas: Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013),
section IV; the points and the interpolation are those of QUIP's descriptor `soap` (github.com/libAtoms/GAP,
`descriptors.F90`), from which no code is taken; the overlap follows from completing the square.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import scipy
from pydantic import model_validator

from ..frame import Array
from .radial import Gaussian, RadialBasis, checked_distances, gaussian_kernel

BEYOND = np.sqrt(20 * np.log(10))
"""How far the points extend beyond the cutoff, in sigma: where a Gaussian has decayed to 1e-10."""


class EquispacedGaussianBasis(RadialBasis):
    """`kind = "equispaced_gaussians"`: n_max Gaussians as wide as the density, the same functions for every l."""

    kind: Literal["equispaced_gaussians"] = "equispaced_gaussians"

    @model_validator(mode="after")
    def _can_be_interpolated(self) -> "EquispacedGaussianBasis":
        if not isinstance(self.density, Gaussian):
            raise ValueError("density: must be gaussian; its width is that of the radial functions")
        try:
            self._matrices()
        except scipy.linalg.LinAlgError as error:
            raise ValueError(f"n_max = {self.n_max}: this many Gaussians are linearly dependent; take fewer") from error
        return self

    def functions(self, r: Array) -> tuple[Array, Array]:
        r = checked_distances(r)
        points, factor, _ = self._matrices()
        gap = r[:, None] - points
        value = np.exp(-0.5 * (gap / self._sigma) ** 2)
        derivative = -gap / self._sigma**2 * value
        shape = (len(r), self.l_max + 1, self.n_max)
        orthonormal = (scipy.linalg.solve_triangular(factor, f.T, lower=True).T for f in (value, derivative))
        value, derivative = (np.broadcast_to(f[:, None], shape) for f in orthonormal)
        return value, derivative

    def gaussian_integrals(self, r: Array, sigma: float) -> tuple[Array, Array]:
        points, _, transform = self._matrices()
        value, derivative = (
            np.moveaxis(kernel, 0, 1) @ transform for kernel in gaussian_kernel(r, points, sigma, self.l_max)
        )
        return value, derivative

    @property
    def _sigma(self) -> float:
        assert isinstance(self.density, Gaussian)
        return self.density.sigma_angstrom

    def _matrices(self) -> tuple[Array, Array, Array]:
        return _matrices(self.n_max, self.cutoff.cutoff_angstrom, self._sigma)


@lru_cache(maxsize=8)
def _matrices(n_max: int, cutoff: float, sigma: float) -> tuple[Array, Array, Array]:
    """Points (n,), L (n, n) and C^-1 L (n, n); `LinAlgError` if the functions are numerically dependent."""
    points = np.arange(n_max) * ((cutoff + BEYOND * sigma) / n_max)
    a = 0.5 / sigma**2
    gap = points[:, None] - points
    m = 0.5 * (points[:, None] + points)
    inner = (m**2 + 0.25 / a) * np.sqrt(0.5 * np.pi / a) * 0.5 * (1 + scipy.special.erf(m * np.sqrt(2 * a)))
    overlap = np.exp(-0.5 * a * gap**2) * (inner + m * np.exp(-2 * a * m**2) * 0.25 / a)
    factor = scipy.linalg.cholesky(overlap, lower=True)
    transform = scipy.linalg.cho_solve(scipy.linalg.cho_factor(np.exp(-a * gap**2), lower=True), factor)
    return points, factor, transform
