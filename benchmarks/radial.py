"""Radial functions: splines and analytic integrals.

Gaussian-type orbitals with a Gaussian density, sigma 0.3 A, cutoff 5 A with width 0.5 A; values and derivatives of all
(n, l) at 10 000 random distances, one thread. "1F1 (scipy)" evaluates the analytic integrals in double precision with
`scipy.special.hyp1f1`; "1F1 (double-double)" is the series that the tables are made from, accurate to 1e-15 even at
n_max = 20; "times" is the ratio to the time of the spline. Published speed-ups of splines over 1F1 are 5.5 to 18 (Musil
et al., J. Chem. Phys. 154, 114109 (2021)).
"""

from collections.abc import Iterator
from time import perf_counter

import numpy as np
from scipy import special

from forceserver import _ext
from forceserver.representation.cutoff import ShiftedCosine
from forceserver.representation.gto import GtoBasis
from forceserver.representation.spline import SplineTable

from .harness import Table, interleave

CUTOFF, WIDTH, SIGMA = 5.0, 0.5, 0.3
SIZES = ((6, 4), (8, 6), (12, 9), (20, 12))
EVALUATIONS = 10_000


def make_basis(n_max: int, l_max: int) -> GtoBasis:
    cutoff = ShiftedCosine(cutoff_angstrom=CUTOFF, width_angstrom=WIDTH)
    density = {"kind": "gaussian", "sigma_angstrom": SIGMA}
    return GtoBasis(n_max=n_max, l_max=l_max, cutoff=cutoff, density=density)


class ScipyIntegrals:
    """Integrals of the primitives with scipy's 1F1, mixed by a matrix of the right size; the rest is prepared."""

    def __init__(self, n_max: int, l_max: int):
        self.degrees = np.arange(l_max + 1)[:, None]
        orders = np.arange(n_max)
        self.a = 0.5 / SIGMA**2
        b = 0.5 / (CUTOFF**2 * np.maximum(orders, 1) / n_max**2)
        self.decay, self.scale = self.a * b / (self.a + b), self.a**2 / (self.a + b)
        self.alpha, self.beta = (self.degrees - orders) / 2, self.degrees + 1.5  # after Kummer's transformation
        self.mixing = np.eye(n_max)

    def evaluate(self, r):
        r = r[:, None, None]
        x = self.scale * r**2
        prefactor = r**self.degrees * np.exp(-self.decay * r**2)
        value = prefactor * special.hyp1f1(self.alpha, self.beta, -x)
        shifted = prefactor * special.hyp1f1(self.alpha, self.beta + 1, -x)
        slope = (self.beta - self.alpha) / self.beta * 2 * x / r
        derivative = (self.degrees / r - 2 * self.a * r) * value + slope * shifted
        return value @ self.mixing, derivative @ self.mixing


def speed_up(quick: bool) -> Table:
    table = Table(
        "10 000 evaluations, spline tolerance 1e-8",
        ("n_max, l_max", "spline / ms", "1F1 (scipy) / ms", "times", "1F1 (double-double) / ms", "times"),
    )
    r = np.random.default_rng(0).uniform(0.5, CUTOFF, EVALUATIONS)
    for n_max, l_max in SIZES[: 2 if quick else None]:
        basis = make_basis(n_max, l_max)
        timings = interleave(
            {
                "spline": lambda table=SplineTable.build(basis, 1e-8): table.evaluate(r),
                "scipy": lambda peer=ScipyIntegrals(n_max, l_max): peer.evaluate(r),
                "exact": lambda basis=basis: basis.evaluate(r),
            },
            rounds=3 if quick else 7,
        )
        spline, scipy, exact = (1e3 * timings[name].median for name in ("spline", "scipy", "exact"))
        table.rows.append((f"{n_max}, {l_max}", spline, scipy, scipy / spline, exact, exact / spline))
    return table


def tolerances(quick: bool) -> Table:
    """Cost and error of the tables for n_max 8, l_max 6, as docs/figures/representation.py draws them."""
    columns = (
        "tolerance",
        "intervals",
        "MiB",
        "built in / s",
        "ns per function",
        "error of the value",
        "relative",
        "of the derivative / A^-1",
        "relative",
    )
    result = Table("Tables of 56 functions (n_max 8, l_max 6) against tolerance", columns)
    basis = make_basis(8, 6)
    r = np.random.default_rng(0).uniform(0.5, CUTOFF, EVALUATIONS)
    for digits in range(3, 9 if quick else 13):
        start = perf_counter()
        table = SplineTable.build(basis, 10.0**-digits)
        built = perf_counter() - start
        seconds = interleave({"spline": lambda table=table: table.evaluate(r)}, rounds=3 if quick else 7)[
            "spline"
        ].median
        result.rows.append(
            (
                f"1e-{digits}",
                table.n_intervals,
                table.coefficients.nbytes / 2**20,
                built,
                1e9 * seconds / EVALUATIONS / table.channels,
                table.errors.value,
                table.errors.relative_value,
                table.errors.derivative,
                table.errors.relative_derivative,
            )
        )
    return result


def tables(quick: bool) -> Iterator[Table]:
    """The two tables of this suite."""
    threads = _ext.cpu.max_threads()
    _ext.cpu.set_threads(1)
    try:
        yield speed_up(quick)
        yield tolerances(quick)
    finally:
        _ext.cpu.set_threads(threads)
