"""Gaussian-type orbitals r^n exp(-r^2 / 2 sigma_n^2), whose integrals with a Gaussian density are analytic.

Primitives, n = 0 .. n_max - 1, the same for every l:  N_n r^n exp(-b_n r^2) with b_n = 1 / 2 sigma_n^2,
sigma_n = r_c max(sqrt(n), 1) / n_max, N_n^2 = 2 / (sigma_n^(2n + 3) Gamma(n + 3/2)). They are Loewdin-orthonormalised
with their overlap on [0, inf), R = S^(-1/2) primitives. With a = 1 / 2 sigma^2, alpha = (n + l + 3) / 2 and
beta = l + 3/2 the integral of a primitive is

    4 pi (pi sigma^2)^(-3/4) N_n sqrt(pi)/4 Gamma(alpha)/Gamma(beta) a^l (a + b_n)^(-alpha)
        r^l exp(-a r^2) 1F1(alpha, beta, a^2 r^2 / (a + b_n))

(i_l expanded and integrated term by term; Musil et al., J. Chem. Phys. 154, 114109 (2021)). The primitives
themselves have the same form, as exp(-b_n r^2) = exp(-b_0 r^2) 1F1(1, 1, (b_0 - b_n) r^2).

S is nearly singular (its smallest eigenvalue is 1e-4 for n_max = 8, 1e-13 for 20), and R_n and I_nl are differences of
nearly equal primitives. Therefore S^(-1/2) is computed by mpmath with 50 digits, and the sums in double-double
arithmetic (`cython_ext/kummer.pyx`): every result has a relative error of about 1e-15, except next to its zeros.

The quadrature used for the other bases is not sufficient here, even with exact values of R_n at its points. A wide
Gaussian nearly averages out functions that oscillate (5e-9 of one is left at n_max = 20, l_max = 12, sigma = 1 A,
r_c = 5 A), so the quadrature is accurate only to 2e-11 of the largest value. It also takes ten times as long.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _ext
from ..frame import Array
from .radial import RadialBasis, checked_distances

_kernel = _ext.kernel("kummer")

DIGITS = 50
LARGEST_EXPONENT = 1300.0  # A r^2 in exp(-A r^2): the kernel's sums stay within the range of doubles


class GtoBasis(RadialBasis):
    """Gaussian-type orbitals, orthonormal on [0, inf); featomic's `Gto` with `max_radial = n_max - 1`."""

    kind: Literal["gto"] = "gto"

    def primitives(self, r: Array) -> Array:
        value, _ = _orbital_sums(self.n_max, self.cutoff.cutoff_angstrom, False).evaluate(r)
        return self._for_every_l(value)

    def functions(self, r: Array) -> tuple[Array, Array]:
        value, derivative = _orbital_sums(self.n_max, self.cutoff.cutoff_angstrom, True).evaluate(r)
        return self._for_every_l(value), self._for_every_l(derivative)

    def gaussian_integrals(self, r: Array, sigma: float) -> tuple[Array, Array]:
        sums = _integral_sums(self.n_max, self.l_max, self.cutoff.cutoff_angstrom, sigma)
        values, derivatives = zip(*(one.evaluate(r) for one in sums), strict=True)
        return np.stack(values, axis=1), np.stack(derivatives, axis=1)

    def _for_every_l(self, f: Array) -> Array:
        return np.broadcast_to(f[:, None], (len(f), self.l_max + 1, self.n_max))


class KummerSums(NamedTuple):
    """f_j(r) = sum_n weights[j, n] r^powers[n] exp(-a r^2) 1F1(alpha[n], beta[n], xi[n] r^2), for j = 0 .. n_max - 1.

    a (2,), xi (n, 2), weights (j, n, 2): double-double numbers, hi and lo.
    """

    a: Array
    powers: NDArray[np.int32]
    alpha: Array
    beta: Array
    xi: Array
    weights: Array

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """Values and derivatives (k, j) at the distances `r` (k,). `ValueError` if exp(-a r^2) is out of range."""
        r = checked_distances(r)
        largest = np.sqrt(LARGEST_EXPONENT / self.a[0])
        if np.any(r > largest):
            raise ValueError(f"r must not exceed {largest:.3g} A, where all functions have vanished; got {r.max():g}")
        # the kernel divides by r: 1e-100 stands for the limit r -> 0
        return _kernel.sums(np.maximum(r, 1e-100), *self)


@lru_cache(maxsize=32)
def _primitives(n_max: int, radius: float):
    """b_n, N_n and S^(-1/2), as mpmath numbers with `DIGITS` digits."""
    import mpmath as mp

    with mp.workdps(DIGITS):
        widths = [mp.mpf(radius) * mp.sqrt(max(n, 1)) / n_max for n in range(n_max)]
        exponents = [1 / (2 * width**2) for width in widths]
        norms = [mp.sqrt(2 / (width ** (2 * n + 3) * mp.gamma(n + mp.mpf(1.5)))) for n, width in enumerate(widths)]
        overlap = mp.matrix(n_max)
        for n in range(n_max):
            for m in range(n_max):
                half = mp.mpf(n + m + 3) / 2
                overlap[n, m] = norms[n] * norms[m] * mp.gamma(half) / (2 * (exponents[n] + exponents[m]) ** half)
        eigenvalues, vectors = mp.eigsy(overlap)
        loewdin = vectors * mp.diag([1 / mp.sqrt(value) for value in eigenvalues]) * vectors.T
        return exponents, norms, loewdin


@lru_cache(maxsize=32)
def _orbital_sums(n_max: int, radius: float, orthonormal: bool) -> KummerSums:
    """The orbitals, or their primitives, as sums for the kernel."""
    import mpmath as mp

    with mp.workdps(DIGITS):
        exponents, norms, loewdin = _primitives(n_max, radius)
        mixing = loewdin if orthonormal else mp.eye(n_max)
        return KummerSums(
            a=_double_double(exponents[0]),
            powers=np.arange(n_max, dtype=np.int32),
            alpha=np.ones(n_max),
            beta=np.ones(n_max),
            xi=_double_double([exponents[0] - b for b in exponents]),
            weights=_double_double([[mixing[j, n] * norms[n] for n in range(n_max)] for j in range(n_max)]),
        )


@lru_cache(maxsize=32)
def _integral_sums(n_max: int, l_max: int, radius: float, sigma: float) -> tuple[KummerSums, ...]:
    """The integrals of the orbitals with the Gaussian density, as sums for the kernel, for each l."""
    import mpmath as mp

    sums = []
    with mp.workdps(DIGITS):
        exponents, norms, loewdin = _primitives(n_max, radius)
        a = 1 / (2 * mp.mpf(sigma) ** 2)
        density = 4 * mp.pi * (mp.pi * mp.mpf(sigma) ** 2) ** mp.mpf(-0.75)
        for l in range(l_max + 1):
            alpha = [mp.mpf(n + l + 3) / 2 for n in range(n_max)]
            beta = l + mp.mpf(1.5)
            factors = [
                density * norm * mp.sqrt(mp.pi) / 4 * mp.gamma(al) / mp.gamma(beta) * a**l * (a + b) ** -al
                for al, b, norm in zip(alpha, exponents, norms, strict=True)
            ]
            sums.append(
                KummerSums(
                    a=_double_double(a),
                    powers=np.full(n_max, l, dtype=np.int32),
                    alpha=np.array(alpha, dtype=np.float64),
                    beta=np.full(n_max, l + 1.5),
                    xi=_double_double([a**2 / (a + b) for b in exponents]),
                    weights=_double_double([[loewdin[j, n] * factors[n] for n in range(n_max)] for j in range(n_max)]),
                )
            )
    return tuple(sums)


def _double_double(numbers) -> Array:
    """mpmath numbers, nested in lists of any depth, as an array with a last axis (hi, lo)."""
    if isinstance(numbers, list):
        return np.array([_double_double(number) for number in numbers])
    return np.array([float(numbers), float(numbers - float(numbers))])
