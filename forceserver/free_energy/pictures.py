"""Pictures of free energies: a curve with its band, a map, or slices."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..files import atomic_write
from ..frame import Array
from .estimate import distance_to_end
from .landscape import maximum_flux_path
from .study import Study
from .surface import Surface

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#2b5c8a", "#d1731f", "#707070"
CEILING_KT = 25
"""What is higher above the lowest minimum is drawn as unknown."""


def draw_surface(study: Study, path: Path) -> None:
    """Draws one to three variables into a file; its ending says in which format."""
    import matplotlib

    with matplotlib.rc_context(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.8,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 200,
        }
    ):
        figure = (_curve, _map, _slices)[len(study.estimate.surface.names) - 1](study)
        with atomic_write(path) as part:
            figure.savefig(part)


def draw_convergence(studies: list[Study], depth: float, path: Path) -> None:
    """Distance to the final free energy, and populations, with simulation time."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = len(studies)
    with matplotlib.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 200}
    ):
        figure = Figure(figsize=(6.8, 2.5 * rows), layout="constrained")
        axes = figure.subplots(rows, 2, squeeze=False)
        for (left, right), study in zip(axes, studies, strict=True):
            estimate = study.estimate
            left.plot(estimate.times, distance_to_end(estimate, depth), ".-", color=BLUE, lw=1, ms=4)
            left.axhline(estimate.kt, color=GREY, lw=0.8, ls=":")
            left.annotate(
                "kT", (1, estimate.kt), (2, 0), ("axes fraction", "data"), "offset points", color=GREY, va="center"
            )
            left.set(xlabel="time (ps)", ylabel=f"rms distance to end ({study.unit})", ylim=(0, None))
            left.set_title(f"by {estimate.method}", loc="left", fontsize=9)
            for k, (name, phase) in enumerate(list(study.phases.items())[:8]):
                right.plot(estimate.times, phase.history, ".-", lw=1, ms=4, label=name, color=f"C{k}")
            right.set(xlabel="time (ps)", ylabel="population", ylim=(-0.02, 1.02))
            right.legend(frameon=False, ncols=2, fontsize=8)
        with atomic_write(path) as part:
            figure.savefig(part)


def _label(study: Study) -> str:
    return f"free energy ({study.unit})"


def _shifted(study: Study) -> tuple[Array, float]:
    """F above its minimum, nan where it is unknown, and the highest value worth drawing."""
    surface, kt = study.estimate.surface, study.estimate.kt
    f = surface.values - surface.values.min()
    saddles = [saddle.value - surface.values.min() for saddle in study.landscape.saddles]
    known = f[np.isfinite(f) & (f < CEILING_KT * kt)]
    top = min(max([8 * kt, *(1.35 * value for value in saddles)]), float(known.max()) if known.size else kt)
    return np.where(np.isfinite(f), f, np.nan), top


def _curve(study: Study) -> "Figure":
    from matplotlib.figure import Figure

    surface = study.estimate.surface
    f, top = _shifted(study)
    x = surface.nodes[0]
    figure = Figure(figsize=(4.4, 3.0))
    axis = figure.subplots()
    if surface.errors is not None:
        errors = np.where(np.isfinite(surface.errors), surface.errors, np.nan)
        axis.fill_between(x, f - errors, f + errors, color=BLUE, alpha=0.25, lw=0, label="± standard error")
    axis.plot(x, f, color=BLUE, lw=1.5, label=None if surface.errors is not None else "not converged: no errors")
    for letter, minimum in zip(study.letters, study.landscape.minima, strict=True):
        at = surface.point(minimum.index)[0], f[minimum.index]
        axis.plot(*at, "o", ms=4, color=ORANGE, zorder=3)
        axis.annotate(letter, at, (0, -11), textcoords="offset points", ha="center", color=ORANGE, weight="bold")
    for saddle in study.landscape.saddles:
        if saddle.adjacent:
            axis.plot(surface.point(saddle.index)[0], f[saddle.index], "x", ms=5, color=ORANGE, zorder=3)
    seen = x[np.isfinite(f) & (f < 1.15 * top)]
    axis.set(xlabel=study.axis_label(0), ylabel=_label(study), ylim=(-0.12 * top, 1.15 * top), xlim=(seen[0], seen[-1]))
    axis.legend(frameon=False, fontsize=8)
    return figure


def _map(study: Study) -> "Figure":
    from matplotlib.figure import Figure

    surface = study.estimate.surface
    f, top = _shifted(study)
    figure = Figure(figsize=(4.8, 3.9))
    axis = figure.subplots()
    filled = _contours(axis, surface.nodes[0], surface.nodes[1], f, top)
    _colorbar(figure, filled, [axis], study)
    _way(axis, study)
    for letter, minimum in zip(study.letters, study.landscape.minima, strict=True):
        _mark(axis, surface.point(minimum.index), letter)
    inside = np.nan_to_num(f, nan=np.inf) < top
    for set_limits, nodes, k in ((axis.set_xlim, surface.nodes[0], 1), (axis.set_ylim, surface.nodes[1], 0)):
        used = nodes[inside.any(axis=k)]
        set_limits(used[0], used[-1])
    axis.set(xlabel=study.axis_label(0), ylabel=study.axis_label(1))
    axis.spines[["top", "right"]].set_visible(True)
    return figure


def _slices(study: Study) -> "Figure":
    """Above: planes through the lowest minimum. Below: the other variable integrated out."""
    from matplotlib.figure import Figure

    surface, kt = study.estimate.surface, study.estimate.kt
    f, top = _shifted(study)
    figure = Figure(figsize=(9.6, 5.8))
    axes = figure.subplots(2, 3)
    through = study.landscape.minima[0].index
    inside = np.nan_to_num(f, nan=np.inf) < top
    for column, (a, b, c) in enumerate(((0, 1, 2), (0, 2, 1), (1, 2, 0))):
        cut, whole = axes[:, column]
        plane = np.take(f, through[c], axis=c)
        filled = _contours(cut, surface.nodes[a], surface.nodes[b], plane, top)
        cut.set_title(f"{surface.names[c]} = {surface.nodes[c][through[c]]:.3g}", fontsize=9)
        for letter, minimum in zip(study.letters, study.landscape.minima, strict=True):
            if abs(minimum.index[c] - through[c]) <= len(surface.nodes[c]) // 20:
                point = surface.point(minimum.index)
                _mark(cut, (point[a], point[b]), letter)
        projected = surface.project([surface.names[a], surface.names[b]], kt)
        flat = np.where(np.isfinite(projected.values), projected.values - projected.values.min(), np.nan)
        _contours(whole, surface.nodes[a], surface.nodes[b], flat, top)
        whole.set_title(f"{surface.names[c]} integrated out", fontsize=9)
        for axis in (cut, whole):
            for set_limits, k in ((axis.set_xlim, a), (axis.set_ylim, b)):
                used = surface.nodes[k][inside.any(axis=tuple(j for j in range(3) if j != k))]
                set_limits(used[0], used[-1])
            axis.set(xlabel=study.axis_label(a), ylabel=study.axis_label(b))
            axis.spines[["top", "right"]].set_visible(True)
    _colorbar(figure, filled, axes, study)
    return figure


def _contours(axis, x: Array, y: Array, f: Array, top: float):
    from matplotlib.ticker import MaxNLocator

    levels = np.asarray(MaxNLocator(10).tick_values(0, top))
    levels = levels[levels >= 0]
    axis.set_facecolor("#ececec")
    filled = axis.contourf(x, y, f.T, levels=levels, cmap="viridis")
    if np.nanmin(f) < levels[-1]:
        axis.contour(x, y, f.T, levels=levels, colors="white", linewidths=0.4, alpha=0.7)
    return filled


def _colorbar(figure, filled, axes, study: Study) -> None:
    bar = figure.colorbar(filled, ax=axes, label=_label(study), shrink=0.9)
    bar.outline.set_visible(False)


def _mark(axis, point: Sequence[float], letter: str) -> None:
    axis.plot(*point, "o", ms=4, color="white", mec="black", mew=0.8, zorder=4)
    note = axis.annotate(letter, point, (5, 5), textcoords="offset points", color="white", weight="bold", zorder=5)
    from matplotlib.patheffects import withStroke

    note.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _way(axis, study: Study) -> None:
    """The most likely ways between neighbouring minima, and the saddles."""
    surface: Surface = study.estimate.surface
    for saddle in study.landscape.saddles:
        if not saddle.adjacent:
            continue
        a, b = (study.landscape.minima[k].index for k in saddle.between)
        first = maximum_flux_path(surface, a, saddle.index, study.estimate.kt)
        second = maximum_flux_path(surface, saddle.index, b, study.estimate.kt)
        points = []
        for k, variable in enumerate(surface.variables):
            line = surface.nodes[k][np.concatenate([first, second[1:]])[:, k]]
            if variable.domain:
                line = np.unwrap(line, period=variable.period)
            points.append(gaussian_filter1d(line, 2.5, mode="nearest"))  # steps of the grid are not for the eye
        for shifts in product(*((0, -v.period, v.period) if v.domain else (0,) for v in surface.variables)):
            axis.plot(points[0] + shifts[0], points[1] + shifts[1], color="white", lw=1.2, ls="--")
        axis.plot(*surface.point(saddle.index), "x", color="white", ms=6, mew=1.4)
