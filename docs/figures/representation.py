"""Draws the figures of docs/representation.md beside this file: `python docs/figures/representation.py`."""

from pathlib import Path
from time import perf_counter

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mpmath as mp
import numpy as np
from scipy import special

from forceserver import _ext
from forceserver.representation.cutoff import LongAlgebraic, ShiftedCosine
from forceserver.representation.dvr import DvrBasis
from forceserver.representation.gto import GtoBasis
from forceserver.representation.laplacian import LaplacianBasis
from forceserver.representation.spline import SplineTable

FOLDER = Path(__file__).parent
CUTOFF = ShiftedCosine(cutoff_angstrom=5.0, width_angstrom=0.5)
GAUSSIAN = {"kind": "gaussian", "sigma_angstrom": 0.3}

plt.rcParams.update({"font.size": 8, "axes.titlesize": 8, "legend.frameon": False, "lines.linewidth": 1.2})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})


def save(figure, name: str) -> None:
    figure.savefig(FOLDER / f"representation_{name}.png", dpi=110, pil_kwargs={"optimize": True})
    plt.close(figure)


def bases() -> None:
    """Radial functions, before and after orthonormalisation, and what is splined of them."""
    r = np.linspace(0, 5, 300)
    gto, dvr, laplacian = (
        kind(n_max=6, l_max=4, cutoff=CUTOFF, density=GAUSSIAN) for kind in (GtoBasis, DvrBasis, LaplacianBasis)
    )
    upper = {
        "GTO primitives": gto.primitives(r)[:, 0],
        "GTO $R_n$": gto.functions(r)[0][:, 0],
        "DVR $R_n$": dvr.functions(r)[0][:, 0],
        "Laplacian $R_{n0}$": laplacian.functions(r)[0][:, 0],
    }
    lower = {
        "GTO $f_c I_{n4}$": gto.evaluate(r)[0][:, 4],
        "GTO $f_c I_{n0}$": gto.evaluate(r)[0][:, 0],
        "DVR $f_c I_{n0}$": dvr.evaluate(r)[0][:, 0],
        "Laplacian $f_c I_{n0}$": laplacian.evaluate(r)[0][:, 0],
    }
    figure, axes = plt.subplots(2, 4, figsize=(8.5, 3.8), sharex=True, layout="constrained")
    for row, curves, factor in zip(axes, (upper, lower), (r[:, None], 1.0), strict=True):
        for axis, (title, values) in zip(row, curves.items(), strict=True):
            axis.axhline(0, color="0.8", linewidth=0.5)
            for n, colour in enumerate(plt.cm.viridis(np.linspace(0, 0.9, 6))):
                axis.plot(r, (factor * values)[:, n], color=colour, label=f"n = {n}")
            axis.set_title(title)
    axes[0, 0].set_ylabel("r × function / Å$^{-1/2}$")
    axes[1, 0].set_ylabel("cutoff × integral")
    figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    for axis in axes[1]:
        axis.set_xlabel("r / Å")
    save(figure, "bases")


def weights() -> None:
    """Cutoff function, its derivative, and the radial scaling."""
    r = np.linspace(0, 5.3, 500)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.5, 2.3), layout="constrained")
    for width in (0.5, 1.5, 5.0):
        value, derivative = ShiftedCosine(cutoff_angstrom=5.0, width_angstrom=width).evaluate(r)
        left.plot(r, value, label=f"width {width:g} Å")
        middle.plot(r, derivative)
    for exponent in (2, 4, 8):
        right.plot(
            r, LongAlgebraic(rate=1.0, scale_angstrom=2.5, exponent=exponent).evaluate(r)[0], label=f"m = {exponent}"
        )
    left.set_title("shifted cosine $f_c$")
    middle.set_title("$df_c/dr$ / Å$^{-1}$")
    right.set_title("scaling, c = 1, $r_0$ = 2.5 Å")
    left.legend(fontsize=7)
    right.legend(fontsize=7)
    for axis in (left, middle, right):
        axis.set_xlabel("r / Å")
    save(figure, "weights")


def doubles_only(n_max: int, l_max: int, r):
    """The same integrals with nothing but doubles: scipy's 1F1 and numpy's eigenvectors."""
    n, l = np.arange(n_max), np.arange(l_max + 1)[:, None]
    widths = CUTOFF.cutoff_angstrom * np.sqrt(np.maximum(n, 1)) / n_max
    norms = np.sqrt(2 / (widths ** (2 * n + 3) * special.gamma(n + 1.5)))
    sigma = GAUSSIAN["sigma_angstrom"]
    a, b = 0.5 / sigma**2, 0.5 / widths**2
    alpha, beta = (n + l + 3) / 2, l + 1.5
    factor = 4 * np.pi * (np.pi * sigma**2) ** -0.75 * norms * np.sqrt(np.pi) / 4 * special.gamma(alpha)
    factor = factor / special.gamma(beta) * (a * r) ** l * (a + b) ** -alpha * np.exp(-a * b / (a + b) * r**2)
    primitives = factor * special.hyp1f1(beta - alpha, beta, -(a**2) * r**2 / (a + b))
    half = (n + n[:, None] + 3) / 2
    overlap = norms * norms[:, None] * special.gamma(half) / (2 * (b + b[:, None]) ** half)
    eigenvalues, vectors = np.linalg.eigh(overlap)
    return primitives @ (vectors / np.sqrt(np.maximum(eigenvalues, 1e-300)) @ vectors.T)


def precision() -> None:
    """What the orthonormalisation costs in doubles, and that double-double arithmetic pays for it."""
    from forceserver.representation.gto import _integral_sums

    r = np.linspace(0.25, 5, 20)[:, None, None]
    orders = np.arange(1, 21)
    plain = []
    for n_max in orders:
        basis = GtoBasis(n_max=int(n_max), l_max=6, cutoff=CUTOFF, density=GAUSSIAN)
        exact = basis.integrals(r[:, 0, 0])[0]
        plain.append(np.abs(doubles_only(int(n_max), 6, r) / exact - 1).max())
    checked, double_double = (1, 4, 8, 12, 16, 20), []
    with mp.workdps(60):
        for n_max in checked:
            sums = _integral_sums(n_max, 6, CUTOFF.cutoff_angstrom, GAUSSIAN["sigma_angstrom"])
            double_double.append(max(largest_error(one, r[::4, 0, 0]) for one in sums))
    figure, axis = plt.subplots(figsize=(4.2, 2.6), layout="constrained")
    axis.semilogy(orders, plain, "o-", markersize=3, label="doubles only")
    axis.semilogy(checked, double_double, "s-", markersize=3, label="double-double sums")
    axis.axhline(1e-12, color="0.6", linestyle=":", linewidth=0.8)
    axis.set_xlabel("$n_{max}$")
    axis.set_xticks(range(0, 21, 4))
    axis.set_ylabel("largest relative error of $I_{nl}$")
    axis.legend()
    save(figure, "precision")


def largest_error(sums, r) -> float:
    """Largest relative error of the kernel for one l, against the same sums in mpmath."""
    values, _ = sums.evaluate(r)
    pairs = [[mp.mpf(hi) + mp.mpf(lo) for hi, lo in row] for row in sums.weights]
    a = mp.mpf(sums.a[0]) + mp.mpf(sums.a[1])
    worst = 0.0
    for k, x in enumerate(map(mp.mpf, r)):
        terms = [
            x ** int(p) * mp.exp(-a * x * x) * mp.hyp1f1(alpha, beta, (mp.mpf(xi[0]) + mp.mpf(xi[1])) * x * x)
            for p, alpha, beta, xi in zip(sums.powers, sums.alpha, sums.beta, sums.xi, strict=True)
        ]
        for value, row in zip(values[k], pairs, strict=True):
            worst = max(worst, float(abs(mp.mpf(value) / mp.fdot(row, terms) - 1)))
    return worst


def splines() -> None:
    """Cost and error of the tables against the tolerance that was asked for."""
    basis = GtoBasis(n_max=8, l_max=6, cutoff=CUTOFF, density=GAUSSIAN)
    r = np.random.default_rng(0).uniform(0.5, 5, 10_000)
    _ext.cpu.set_threads(1)
    tolerances = 10.0 ** -np.arange(3, 13)
    tables = [SplineTable.build(basis, tolerance) for tolerance in tolerances]
    start = perf_counter()
    basis.evaluate(r)
    analytic = perf_counter() - start
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.5, 2.5), layout="constrained")
    left.loglog(tolerances, tolerances, color="0.7", linewidth=0.8, label="asked for")
    for name, label, style in (
        ("relative_derivative", "derivative, rel.", "C0o-"),
        ("derivative", "derivative / Å$^{-1}$", "C1o--"),
        ("relative_value", "value, rel.", "C2s-"),
        ("value", "value", "C3s--"),
    ):
        left.loglog(tolerances, [getattr(t.errors, name) for t in tables], style, markersize=3, label=label)
    left.set_ylim(bottom=1e-18)
    left.set_ylabel("largest error")
    left.legend(fontsize=6, loc="lower left")
    middle.loglog(tolerances, [t.n_intervals for t in tables], "o-", markersize=3)
    middle.set_ylabel("intervals")
    per_function = 1e9 / len(r) / tables[0].channels
    right.loglog(tolerances, [per_function * time_of(table, r) for table in tables], "o-", markersize=3, label="spline")
    right.axhline(per_function * analytic, color="C1", label="series of $_1F_1$")
    right.set_ylabel("ns per function and derivative")
    right.legend(fontsize=7)
    for axis in (left, middle, right):
        axis.set_xlabel("tolerance")
        axis.invert_xaxis()
    save(figure, "splines")


def time_of(table: SplineTable, r) -> float:
    """Seconds for all distances, best of twenty."""
    table.evaluate(r)
    times = []
    for _ in range(20):
        start = perf_counter()
        table.evaluate(r)
        times.append(perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    bases()
    weights()
    precision()
    splines()
