"""Pictures of a contraction: what its functions keep, and what they look like."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..elements import symbols
from ..files import atomic_write
from ..representation.contraction import ALL, Contraction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST = 1e-12
"""Fractions of the variance below this are rounding errors."""


def draw_contraction(made: Contraction, path: Path) -> None:
    """Eigenvalues and residual variance against q for every l, and the functions R_ql(r) of three l.

    A row for each species; of a mixed contraction the first row has the eigenvalues of all species.
    """
    import matplotlib
    from matplotlib.figure import Figure

    degrees = sorted({0, len(made.counts) // 2, len(made.counts) - 1})
    with matplotlib.rc_context(
        {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    ):
        rows = len(made.species)
        columns = 2 + len(degrees)
        figure = Figure(figsize=(2.7 * columns, 2.3 * rows), layout="constrained")
        r = np.linspace(0, made.basis.cutoff.cutoff_angstrom, 400)
        functions = made.radial(r)
        for row, (species, axes) in enumerate(
            zip(made.species, figure.subplots(rows, columns, squeeze=False), strict=True)
        ):
            of = ALL if made.sum_species else species
            if of == ALL and row:
                axes[0].set_axis_off()
                axes[1].set_axis_off()
            else:
                _spectrum(axes[0], made, of)
                _residual(axes[1], made, of)
            for axis, l in zip(axes[2:], degrees, strict=True):
                _radial(axis, r, functions[species][:, l, : made.counts[l]])
                axis.set_title(f"{symbols([species])}, l = {l}")
        with atomic_write(path) as part:
            figure.savefig(part, dpi=150, format=path.suffix[1:])


def _spectrum(axes: "Axes", made: Contraction, species: int) -> None:
    for l, values in enumerate(made.eigenvalues[species]):
        shown = values[values > SMALLEST * values[0]]
        axes.semilogy(np.arange(1, len(shown) + 1), shown, ".-", color=_colour(made, l), lw=0.8, ms=3, label=f"l = {l}")
    axes.set(xlabel="number", ylabel="eigenvalue", title=_name(made, species))
    axes.legend(fontsize="x-small", ncols=2)


def _residual(axes: "Axes", made: Contraction, species: int) -> None:
    for l, left in enumerate(made.residual(species)):
        shown = left[left > SMALLEST]
        axes.semilogy(np.arange(len(shown)), shown, "-", color=_colour(made, l), lw=0.8)
        q = made.counts[l]
        if q < len(left) and left[q] > SMALLEST:
            axes.plot(q, left[q], "o", ms=3.5, color=_colour(made, l))
    axes.set(xlabel="functions q", ylabel="residual variance", title="kept: circles")


def _radial(axes: "Axes", r: np.ndarray, functions: np.ndarray) -> None:
    import matplotlib

    axes.axhline(0, color="0.8", lw=0.5)
    n = functions.shape[1]
    for q, colour in enumerate(matplotlib.colormaps["viridis"](np.linspace(0, 0.9, max(1, n)))[:n]):
        axes.plot(r, r * functions[:, q], color=colour, lw=0.9)
    axes.set(xlabel="r (Å)", ylabel="r R(r) (Å$^{-1/2}$)")


def _colour(made: Contraction, l: int) -> tuple:
    import matplotlib

    return matplotlib.colormaps["plasma"](0.9 * l / max(1, len(made.counts) - 1))


def _name(made: Contraction, species: int) -> str:
    return f"{symbols(made.species)}, mixed" if species == ALL else symbols([species])
