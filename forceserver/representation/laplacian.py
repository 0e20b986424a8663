"""Laplacian eigenstates in the sphere of the cutoff, the smoothest basis of a given size.

R_nl(r) = N_nl j_l(z_nl r / r_c) with the zeros z_nl of the spherical Bessel functions and
N_nl^2 = 2 / (r_c^3 j_(l+1)(z_nl)^2); they are orthonormal on [0, r_c] and vanish at r_c. For each l, those functions
are used whose eigenvalue does not exceed that of the last one for l = 0, z_nl <= z_(n_max - 1)0 (Bigi,
Huguenin-Dumittan, Ceriotti, Manolopoulos, J. Chem. Phys. 157, 234101 (2022)). featomic calls them
`LaplacianEigenstate`, with `max_radial = n_max - 1`.
"""

from functools import lru_cache, partial
from itertools import pairwise
from typing import Literal

import numpy as np
import scipy

from ..frame import Array
from .radial import RadialBasis, checked_distances, gauss_legendre, gaussian_kernel

BLOCK = 256  # distances at a time: the kernel is stored for each of them, each point and each l


class LaplacianBasis(RadialBasis):
    """Spherical Bessel functions that vanish at the cutoff; `counts` decreases with l."""

    kind: Literal["laplacian"] = "laplacian"

    @property
    def counts(self) -> tuple[int, ...]:
        zeros = _bessel_zeros(self.l_max, self.n_max)
        return tuple(int(count) for count in np.sum(zeros <= zeros[0, -1], axis=1))

    def functions(self, r: Array) -> tuple[Array, Array]:
        r = checked_distances(r)[:, None, None]
        radius = self.cutoff.cutoff_angstrom
        wave_numbers = _bessel_zeros(self.l_max, self.n_max) / radius
        degrees = np.arange(self.l_max + 1)[:, None]
        norms = _norms(self.l_max, self.n_max, radius)
        value = norms * scipy.special.spherical_jn(degrees, wave_numbers * r)
        derivative = norms * wave_numbers * scipy.special.spherical_jn(degrees, wave_numbers * r, derivative=True)
        return value, derivative

    def gaussian_integrals(self, r: Array, sigma: float) -> tuple[Array, Array]:
        radius = self.cutoff.cutoff_angstrom
        # half waves of the functions, and widths of the Gaussian, in the sphere: both must be resolved
        points, weights = gauss_legendre(40 + 2 * (self.n_max + self.l_max) + int(8 * radius / sigma), radius)
        values, _ = self.functions(points)
        weighted = values * (weights * points**2)[:, None, None]
        blocks = [
            [
                np.einsum("lkp,pln->kln", kernel, weighted, optimize=True)
                for kernel in gaussian_kernel(block, points, sigma, self.l_max)
            ]
            for block in np.split(r, range(BLOCK, len(r), BLOCK))
        ]
        value, derivative = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return value, derivative


@lru_cache(maxsize=32)
def _bessel_zeros(l_max: int, n_max: int) -> Array:
    """The first n_max zeros of j_l for each l, (l_max + 1, n_max); one zero of j_(l+1) lies between two of j_l."""
    zeros = np.pi * np.arange(1, n_max + l_max + 1)
    rows = [zeros[:n_max]]
    for l in range(1, l_max + 1):
        bessel = partial(scipy.special.spherical_jn, l)
        zeros = np.array([scipy.optimize.brentq(bessel, *ends, xtol=1e-300, rtol=1e-15) for ends in pairwise(zeros)])
        rows.append(zeros[:n_max])
    return np.array(rows)


def _norms(l_max: int, n_max: int, radius: float) -> Array:
    degrees = np.arange(l_max + 1)[:, None]
    return np.sqrt(2 / radius**3) / np.abs(scipy.special.spherical_jn(degrees + 1, _bessel_zeros(l_max, n_max)))
