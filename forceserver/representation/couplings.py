"""Couplings of real spherical harmonics: Clebsch-Gordan coefficients, and how many invariants there are.

    (u x v)_LM = sum_{m1 m2} C^{L M}_{l1 m1 l2 m2} u_m1 v_m2

couples two vectors that rotate like harmonics of degree l1 and l2 to one that rotates like degree L; m = -l .. l, real
harmonics without Condon-Shortley phase. For odd l1 + l2 + L the result is a pseudo-tensor (L = 1 of two vectors is
their cross product); two of these make an invariant that inversion does not change.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache
from math import factorial

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=4096)
def real_clebsch_gordan(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
    """C (2 l1 + 1, 2 l2 + 1, 2 l3 + 1) with orthonormal columns: sum_{m1 m2} C C' is one for equal m3, else zero.

    Zero unless |l1 - l2| <= l3 <= l1 + l2. Read-only.
    """
    coupling = np.sqrt(2 * l3 + 1) * real_wigner_3j(l1, l2, l3)
    coupling[np.abs(coupling) < 1e-14] = 0.0
    coupling.setflags(write=False)
    return coupling


def real_wigner_3j(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
    """Wigner 3j symbols between real spherical harmonics, (2 l1 + 1, 2 l2 + 1, 2 l3 + 1).

    For odd l1 + l2 + l3 they are imaginary; their imaginary part, which couples equally well, is returned.
    """
    symbols = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            symbols[m1 + l1, m2 + l2, l3 - m1 - m2] = wigner_3j(l1, l2, l3, m1, m2)
    real = np.einsum("abc,xa,yb,zc->xyz", symbols, *(complex_from_real(l).conj() for l in (l1, l2, l3)))
    return np.ascontiguousarray(real.imag if (l1 + l2 + l3) % 2 else real.real)


def complex_from_real(l: int) -> NDArray[np.complex128]:
    """U[real m, complex m]: Y_real = sum U Y_complex (Condon-Shortley phase in the complex ones only)."""
    u = np.zeros((2 * l + 1, 2 * l + 1), dtype=complex)
    u[l, l] = 1.0
    for m in range(1, l + 1):
        u[l + m, l + m], u[l + m, l - m] = (-1) ** m / np.sqrt(2), 1 / np.sqrt(2)
        u[l - m, l + m], u[l - m, l - m] = -1j * (-1) ** m / np.sqrt(2), 1j / np.sqrt(2)
    return u


def wigner_3j(l1: int, l2: int, l3: int, m1: int, m2: int) -> float:
    """Wigner 3j symbol (l1 l2 l3; m1 m2 -m1-m2), by Racah's formula (https://dlmf.nist.gov/34.2#E4); zero where the
    triangle inequality is not met."""
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0.0
    m3 = -m1 - m2
    triangle = factorial(l1 + l2 - l3) * factorial(l1 - l2 + l3) * factorial(l2 + l3 - l1) / factorial(l1 + l2 + l3 + 1)
    root = triangle
    for l, m in ((l1, m1), (l2, m2), (l3, m3)):
        root *= factorial(l + m) * factorial(l - m)
    low, high = max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2)
    total = sum(
        (-1) ** s
        / (
            factorial(s) * factorial(l1 + l2 - l3 - s) * factorial(l1 - m1 - s) * factorial(l2 + m2 - s)
            * factorial(l3 - l2 + m1 + s) * factorial(l3 - l1 - m2 + s)
        )
        for s in range(low, high + 1)
    )  # fmt: skip
    return float((-1) ** (l1 - l2 - m3) * np.sqrt(root) * total)


def n_invariants(degrees: Sequence[int], names: Sequence[Hashable]) -> int:
    """The number of linearly independent invariants, even under inversion, that are products of these vectors.

    degrees: l of each factor. names: factors with the same name are the same vector, whose powers are symmetric.

    This is the multiplicity of the trivial representation of O(3) in the product of the symmetric powers. It follows
    from the weights: a representation contains as many invariants as it has more states with M = 0 than with M = 1.
    """
    if sum(degrees) % 2:
        return 0
    powers = Counter(zip(degrees, names, strict=True))
    states = Counter({0: 1})
    for (l, _), power in powers.items():
        product: Counter[int] = Counter()
        for m, count in states.items():
            for other, of_power in _symmetric_power(l, power).items():
                product[m + other] += count * of_power
        states = product
    return states[0] - states[1]


@lru_cache(maxsize=1024)
def _symmetric_power(l: int, power: int) -> Counter[int]:
    """M -> number of states of `power` bosons, each with m = -l .. l."""
    states = {(0, 0): 1}  # (bosons, M)
    for m in range(-l, l + 1):
        grown: Counter[tuple[int, int]] = Counter()
        for (bosons, total), count in states.items():
            for more in range(power - bosons + 1):
                grown[bosons + more, total + more * m] += count
        states = grown
    return Counter({total: count for (bosons, total), count in states.items() if bosons == power})
