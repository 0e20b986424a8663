"""A free energy with its minima, barriers and phases, as a report for people and for programs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from .estimate import Estimate, Phase, distance_to_end, errors_of_free_energy
from .landscape import Landscape, find_landscape
from .region import conditions, named_regions

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Study:
    """phases: by name; the basins of the minima if the user names none."""

    estimate: Estimate
    landscape: Landscape
    phases: dict[str, Phase]
    unit: str
    axis_units: Sequence[str] = ()

    def axis_label(self, k: int) -> str:
        """What stands at the axis of a variable."""
        name = self.estimate.surface.names[k]
        return f"{name} ({self.axis_units[k]})" if self.axis_units else name

    @property
    def letters(self) -> list[str]:
        """What the minima are called."""
        n = len(self.landscape.minima)
        return list(LETTERS[:n]) if n <= len(LETTERS) else [f"M{k + 1}" for k in range(n)]

    def report(self, depth: float) -> dict:
        """Everything in numbers; energies in `unit`."""
        estimate = self.estimate
        return {
            "method": estimate.method,
            "variables": list(estimate.surface.names),
            "unit": self.unit,
            "kT": estimate.kt,
            "converged": estimate.has_errors,
            "note": "" if estimate.has_errors else estimate.note,
            "minima": self._minima(),
            "barriers": self._barriers(),
            "phases": self._populations(),
            "convergence": {
                "time_ps": estimate.times.tolist(),
                "distance_to_end": distance_to_end(estimate, depth).tolist(),
                "phases": {name: phase.history.tolist() for name, phase in self.phases.items()},
            },
        }

    def _position(self, node: tuple[int, ...]) -> dict[str, float]:
        surface = self.estimate.surface
        return dict(zip(surface.names, surface.point(node), strict=True))

    def _minima(self) -> list[dict]:
        lowest = self.landscape.minima[0].index
        found = []
        for letter, minimum in zip(self.letters, self.landscape.minima, strict=True):
            f, error = self.estimate.difference(lowest, minimum.index)
            position = self._position(minimum.index)
            found.append({"name": letter, "position": position, "free_energy": f, "error": error})
        return found

    def _barriers(self) -> list[dict]:
        found = []
        for saddle in self.landscape.saddles:
            a, b = (self.landscape.minima[k].index for k in saddle.between)
            forward, backward = (self.estimate.difference(minimum, saddle.index) for minimum in (a, b))
            found.append(
                {
                    "between": [self.letters[k] for k in saddle.between],
                    "position": self._position(saddle.index),
                    "adjacent": saddle.adjacent,
                    "forward": forward[0],
                    "forward_error": forward[1],
                    "backward": backward[0],
                    "backward_error": backward[1],
                }
            )
        return found

    def _populations(self) -> list[dict]:
        return [
            {
                "name": name,
                "population": phase.population,
                "error": self.estimate.error_of(phase),
                "free_energy": float(-self.estimate.kt * np.log(phase.population)) if phase.population > 0 else None,
            }
            for name, phase in self.phases.items()
        ]


def study(
    estimate: Estimate, unit: str, depth: float, phases: Sequence[str] = (), axis_units: Sequence[str] = ()
) -> Study:
    """Finds minima deeper than `depth`, and puts error bars on the free energy.

    Raises:
        InputError: it is constant: nothing reaches the grid.
    """
    surface = estimate.surface
    if np.isfinite(surface.values).all() and np.ptp(surface.values) == 0:
        ranges = ", ".join(
            f"{name} from {nodes[0]:g} to {nodes[-1]:g}"
            for name, nodes in zip(surface.names, surface.nodes, strict=True)
        )
        raise InputError(
            f"the free energy by {estimate.method} is constant for {ranges}: nothing reaches this range; change "
            "--lower and --upper"
        )
    surface = replace(estimate.surface, errors=errors_of_free_energy(estimate) if estimate.has_errors else None)
    estimate = replace(estimate, surface=surface)
    landscape = find_landscape(surface, depth)
    found = Study(estimate, landscape, {}, unit, axis_units)
    return replace(found, phases=_phases(phases, found))


def _phases(texts: Sequence[str], found: Study) -> dict[str, Phase]:
    """Those of conditions count rows if there are any: a grid moves borders by what it smooths."""
    estimate, surface = found.estimate, found.estimate.surface
    if texts and estimate.rows is not None:
        values = {name: estimate.rows.values[name] for name in surface.names}
        return {name: estimate.phase_of_rows(inside) for name, inside in conditions(texts, values).items()}
    if texts:
        regions = named_regions(texts, surface)
    else:
        regions = {letter: found.landscape.basins == k for k, letter in enumerate(found.letters)}
    return {name: estimate.phase(region) for name, region in regions.items()}


def as_text(report: dict) -> str:
    """The report as tables."""
    unit, lines = report["unit"], [f"Free energy by {report['method']} ({report['unit']}, kT = {report['kT']:.4g})", ""]

    def where(position: dict) -> str:
        return "  ".join(f"{name} = {value:.4g}" for name, value in position.items())

    def with_error(value: float, error: float | None) -> str:
        return f"{value:9.3f}" + (f" ± {error:.3f}" if error is not None and np.isfinite(error) else "")

    if report["note"]:
        lines += [report["note"], ""]
    lines.append(f"Minima, F - F({report['minima'][0]['name']}) in {unit}")
    lines += [
        f"  {m['name']}  {with_error(m['free_energy'], m['error']):<20}  {where(m['position'])}"
        for m in report["minima"]
    ]
    adjacent = [b for b in report["barriers"] if b["adjacent"]]
    if adjacent:
        lines += ["", f"Barriers, {unit}"]
    for barrier in adjacent:
        a, b = barrier["between"]
        lines.append(
            f"  {a} -> {b} {with_error(barrier['forward'], barrier['forward_error'])}   "
            f"{b} -> {a} {with_error(barrier['backward'], barrier['backward_error'])}   at {where(barrier['position'])}"
        )
    lines += ["", "Populations"]
    for p in report["phases"]:
        error = f"± {p['error']:.4f}" if np.isfinite(p["error"]) else "(no error: always or never there)"
        lines.append(f"  {p['name']:<12} {p['population']:.4f} {error if report['converged'] else ''}".rstrip())
    return "\n".join(lines) + "\n"
