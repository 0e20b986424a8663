"""The result of the BaTiO3 demo: free energies of the polarization at two temperatures, in numbers and as a picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import atomic_write
from ..frame import Array
from ..free_energy.colvar import read_colvar
from ..free_energy.estimate import Estimate
from ..free_energy.pictures import BLUE, GREY, ORANGE
from ..free_energy.vector import (
    Agreement,
    Direction,
    Vectors,
    agreement,
    along,
    lowest,
    of_length,
    of_short_ones,
    of_vector,
    on_diagonal_plane,
)
from ..units import BOLTZMANN_EV_PER_K

LONGEST, LENGTH_BINS = 0.24, 24
"""Angstrom; range of the free energy of the length."""

REACH, VECTOR_BINS = 0.244, 61
"""Grid for the free energy of the vector: nodes every 0.008 Angstrom, one of them at zero."""

CENTRE = 0.04
"""Angstrom; shorter vectors count as the centre."""

BLOCKS = 10
DIRECTIONS = (1, 1, 1), (0, 1, 1), (0, 0, 1)
RED = "#b3363b"
COLOURS = BLUE, RED
"""One per temperature."""

FREE_ENERGY = {"xlabel": "|s| (Å)", "ylabel": "free energy (meV)", "xlim": (0, 0.2)}
"""Axes of the curves."""


@dataclass(frozen=True)
class Phase:
    """The results of one simulation. Energies in meV for the whole cell, lengths in Angstrom.

    name: name of its folder. data: the whole run; the estimates leave out the first fifth.
    """

    name: str
    kelvin: float
    data: Vectors
    length: Estimate
    vector: Estimate
    halves: Agreement

    @property
    def curve(self) -> tuple[Array, Array, Array]:
        """|s|, F, standard error; nan where unknown."""
        surface = self.length.surface
        errors = np.full_like(surface.values, np.nan) if surface.errors is None else surface.errors
        known = np.isfinite(errors)
        return surface.nodes[0], np.where(known, surface.values, np.nan), np.where(known, errors, np.nan)

    @property
    def minimum(self) -> float:
        """The length of lowest free energy."""
        surface = self.length.surface
        return float(surface.nodes[0][np.argmin(surface.values)])

    @property
    def centre(self) -> tuple[float, float]:
        """F of the vectors shorter than `CENTRE`, and its standard error."""
        return of_short_ones(self.length, CENTRE)

    @property
    def ordered(self) -> bool | None:
        """Whether vectors avoid the centre, where F would otherwise be lowest; None if that is uncertain.

        Certain means by two standard errors.
        """
        if self.minimum < CENTRE:
            return False
        f, error = self.centre
        return True if f > 2 * error or np.isinf(f) else None

    @property
    def directions(self) -> list[Direction]:
        """The minima along [111], [011] and [001], above the first."""
        return [lowest(self.vector, direction, DIRECTIONS[0]) for direction in DIRECTIONS]


def read_vectors(colvar: Path, kelvin: float, growing: bool = False) -> Vectors:
    """The polarization in a COLVAR file, with the weights of its bias (eV); results are in meV.

    growing: whether the simulation is still writing it.
    """
    table = read_colvar([colvar], growing=growing)
    kt = BOLTZMANN_EV_PER_K * kelvin
    vectors = np.stack([table.column(f"polarization_{axis}") for axis in "xyz"], axis=1)
    return Vectors(table.rows[:, 0], vectors, table.column("metad.rbias") / kt, 1e3 * kt)


def centre_so_far(data: Vectors) -> float | None:
    """F of the centre from the second half of the data so far; None if it has not been visited."""
    late = data.part(1, 2)
    if len(late.times) < 50:
        return None
    centre, _ = of_short_ones(of_length(late, LONGEST, LENGTH_BINS, 2), CENTRE)
    return centre if np.isfinite(centre) else None


def evaluate_phase(name: str, kelvin: float, data: Vectors) -> Phase:
    """All estimates of one simulation; `InputError` if it is too short."""
    times = data.times >= data.times[0] + 0.2 * (data.times[-1] - data.times[0])
    late = Vectors(data.times[times], data.vectors[times], data.log_weights[times], data.kt)
    length = of_length(late, LONGEST, LENGTH_BINS, BLOCKS)
    halves = [of_length(late.part(k, 2), LONGEST, LENGTH_BINS, BLOCKS // 2) for k in range(2)]
    vector = of_vector(late, REACH, VECTOR_BINS, BLOCKS, smoothing=1.5)
    return Phase(name, kelvin, data, length, vector, agreement(halves[0], halves[1], depth=6 * data.kt))


def numbers(phases: list[Phase]) -> list[dict]:
    """The result for programs; unknown numbers are not finite."""
    found = []
    for phase in phases:
        x, f, error = phase.curve
        centre, centre_error = phase.centre
        known = np.isfinite(f)
        found.append(
            {
                "name": phase.name,
                "temperature_K": phase.kelvin,
                "ordered": phase.ordered,
                "minimum_angstrom": phase.minimum,
                "centre_meV": centre,
                "centre_error_meV": centre_error,
                "directions": [
                    {
                        "direction": d.name,
                        "length_angstrom": d.length,
                        "free_energy_meV": d.free_energy,
                        "error_meV": d.error,
                    }
                    for d in phase.directions
                ],
                "halves": {
                    "rms_difference_meV": phase.halves.difference,
                    "expected_error_meV": phase.halves.expected,
                    "points": phase.halves.points,
                    "agree": phase.halves.within,
                },
                "length_angstrom": x[known].tolist(),
                "free_energy_meV": f[known].tolist(),
                "error_meV": error[known].tolist(),
            }
        )
    return found


def text(phases: list[Phase]) -> str:
    """The result for people."""
    lines = [
        "BaTiO3, 2x2x2 cells; free energies in meV for the whole cell, ± standard errors from blocks of the run",
        "",
    ]
    for phase in phases:
        state = {True: "ordered", False: "not ordered", None: "undecided, run longer (--ps)"}[phase.ordered]
        centre = _with_error(*phase.centre)
        lines.append(f"{phase.kelvin:g} K (kT = {phase.data.kt:.1f}): {state}")
        lines.append(f"  F(|s|) is lowest at |s| = {phase.minimum:.3f} Å; |s| < {CENTRE:g} Å lies {centre} above")
        if phase.ordered is not False:
            first, *others = sorted(phase.directions, key=lambda d: d.free_energy)
            ways = ", ".join(f"{d.name} {_with_error(d.free_energy, d.error)}" for d in others)
            lines.append(f"  minima along {first.name} at {first.length:.3f} Å; above them the lowest along {ways}")
            lines.append(f"  barrier between neighbouring minima: at most that of {others[0].name}")
        halves = phase.halves
        if halves.points:
            verdict = "agree" if halves.within else "do not agree: run longer (--ps)"
            lines.append(
                f"  the halves of the run differ by {halves.difference:.1f} (rms), "
                f"{halves.expected:.1f} is expected from their errors: they {verdict}"
            )
        else:
            lines.append("  too short for error bars: run longer (--ps)")
        lines.append("")
    return "\n".join(lines)


def _with_error(value: float, error: float) -> str:
    if not np.isfinite(value):
        return "unknown"
    return f"{value:.1f}" + (f" ± {error:.1f}" if np.isfinite(error) else "")


def draw_phases(phases: list[Phase], path: Path) -> None:
    """The picture: the polarization in time, free energy of its length, and maps in the plane of [001] and [110]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.2, 7.6), layout="constrained", dpi=110)
    panels = figure.subplot_mosaic(
        [["time0", "curve", "map0"], ["time1", "ways", "map1"]], width_ratios=[1.05, 1, 0.95]
    )
    for k, phase in enumerate(phases):
        _draw_time(panels[f"time{k}"], phase, COLOURS[k])
        filled = _draw_map(panels[f"map{k}"], phase)
        figure.colorbar(filled, ax=panels[f"map{k}"], label="free energy (meV)", shrink=0.85).outline.set_visible(False)
        x, f, error = phase.curve
        panels["curve"].fill_between(x, f - error, f + error, color=COLOURS[k], alpha=0.25, lw=0)
        panels["curve"].plot(x, f, color=COLOURS[k], lw=1.5, label=f"{phase.kelvin:g} K")
    _draw_ways(panels["ways"], phases[0])
    panels["curve"].set(**FREE_ENERGY, ylim=(-3, 80), title="of the length (± standard error)")
    panels["curve"].legend(frameon=False)
    for name, axes in panels.items():
        axes.title.set_fontsize(10)
        if not name.startswith("map"):
            axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("BaTiO$_3$, 2×2×2 cells: shift s of Ti against its O cage", fontsize=12)
    with atomic_write(path) as part:
        figure.savefig(part)


def _draw_time(axes, phase: Phase, colour: str) -> None:
    for component, name, shade in zip(phase.data.vectors.T, "xyz", ("0.45", "0.6", "0.75"), strict=True):
        axes.plot(phase.data.times, component, lw=0.5, color=shade, label=f"s$_{name}$", rasterized=True)
    axes.plot(phase.data.times, np.linalg.norm(phase.data.vectors, axis=1), lw=0.7, color=colour, label="|s|")
    axes.set(xlabel="time (ps)", ylabel="s (Å)", ylim=(-0.24, 0.3), title=f"{phase.kelvin:g} K, biased")
    axes.legend(frameon=False, ncols=4, fontsize=8, loc="upper center", handlelength=1.2, columnspacing=1.0)


def _draw_map(axes, phase: Phase):
    reach = np.linspace(-0.21, 0.21, 141)
    f = on_diagonal_plane(phase.vector, reach, reach)
    top = 45.0
    levels = np.linspace(0, top, 16)
    axes.set_facecolor("#ececec")
    filled = axes.contourf(reach, reach, f.T - np.nanmin(f), levels=levels, cmap="viridis")
    axes.contour(reach, reach, f.T - np.nanmin(f), levels=levels, colors="white", linewidths=0.4, alpha=0.7)
    for x, y, name in ((0.0, 1.0, "[001]"), (np.sqrt(2 / 3), np.sqrt(1 / 3), "[111]"), (1.0, 0.0, "[110]")):
        axes.plot([0, 0.17 * x], [0, 0.17 * y], color="white", lw=0.7, ls=":")
        axes.annotate(name, (0.187 * x, 0.187 * y), color="black", fontsize=8, ha="center", va="center")
    axes.set(
        xlabel="along [110] (Å)", ylabel="along [001] (Å)", aspect="equal", title=f"{phase.kelvin:g} K, symmetrised"
    )
    return filled


def _draw_ways(axes, phase: Phase) -> None:
    for direction, colour, style in zip(DIRECTIONS, (BLUE, ORANGE, GREY), ("-", "--", "-."), strict=True):
        x, f = along(phase.vector, direction)
        name = "".join(map(str, direction))
        axes.plot(
            x,
            np.where(np.isfinite(f), f - phase.vector.surface.values.min(), np.nan),
            style,
            color=colour,
            label=f"[{name}]",
        )
    axes.set(**FREE_ENERGY, ylim=(-3, 60), title=f"by direction, {phase.kelvin:g} K")
    axes.legend(frameon=False)
