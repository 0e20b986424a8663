"""What quantum nuclei do to the free energy of |s|: path integrals (of the centroid) beside classical mechanics."""

from pathlib import Path

import numpy as np
from observables import (
    checksum,
    figure,
    halves,
    profile,
    properties,
    write_results,
)

KELVIN = 100.0
SKIP = 0.1
"""Of each run is left out: the bias grows fast."""
EDGES = np.linspace(0, 0.24, 25)
COLOURS = {"classical": "#d1731f", "quantum": "#2b5c8a"}


def analyse(folder: Path) -> str:
    """Writes path_integral.json and path_integral.png into `folder`; returns a summary."""
    runs = {name: _results(folder / name) for name in COLOURS}
    difference = runs["quantum"]["free_energy"] - runs["classical"]["free_energy"]
    error = np.hypot(runs["quantum"]["error"], runs["classical"]["error"])
    s = (EDGES[1:] + EDGES[:-1]) / 2
    head = {"model": checksum(folder / "quantum"), "kelvin": KELVIN, "unit": "kJ/mol", "s": s}
    write_results(folder / "path_integral.json", head | runs | {"difference": difference, "error": error})
    _draw(folder / "path_integral.png", s, runs, difference, error)
    lines = ["             ps    <|s|>   halves           most likely   kinetic energy (eV)   halves apart (errors)"]
    for name, run in runs.items():
        means = "  ".join(f"{x:.4f}" for x in run["norm"])
        numbers = f"{run['most likely']:11.3f} {run['kinetic'][0]:21.3f} {run['disagreement']:23.1f}"
        lines.append(f"{name:>9}  {run['ps']:6.1f}   {means}   {numbers}")
    return "\n".join(lines)


def _results(run: Path) -> dict:
    """The free energy of one run, normalised, with its halves; means over the distribution without bias."""
    table = properties(run / "out.properties")
    found = profile([run / "COLVAR"], SKIP, KELVIN, EDGES)
    return {
        "ps": float(table["time"][-1]),
        "free_energy": found.f,
        "error": found.error,
        "halves": found.halves,
        "disagreement": found.disagreement,
        "norm": [float(part.surface.probability(part.kt) @ found.s) for part in found.estimates],
        "most likely": float(found.s[np.nanargmin(found.f)]),
        "kinetic": halves(table["kinetic_cv"][round(SKIP * len(table["time"])) :]),
    }


def _draw(path: Path, s: np.ndarray, runs: dict, difference: np.ndarray, error: np.ndarray) -> None:
    with figure(path, 2) as (left, right):
        lowest = min(np.nanmin(run["free_energy"]) for run in runs.values())
        for name, run in runs.items():
            f, band = run["free_energy"] - lowest, run["error"]
            left.plot(s, f, color=COLOURS[name], label=name)
            left.fill_between(s, f - band, f + band, color=COLOURS[name], alpha=0.25, lw=0)
            for half in run["halves"]:
                left.plot(s, half - lowest, color=COLOURS[name], lw=0.6, ls=":")
        left.set(xlabel=r"$|s|$ (Å)", ylabel=r"$-kT\,\ln p(|s|)$ (kJ/mol)", ylim=(-0.3, 6))
        left.legend(frameon=False)
        seen = np.isfinite(error) & (runs["classical"]["free_energy"] - lowest < 6)
        right.axhline(0, color="#707070", lw=0.8)
        right.errorbar(s[seen], difference[seen], error[seen], fmt="o-", ms=3, lw=1, color=COLOURS["quantum"])
        right.set(xlabel=r"$|s|$ (Å)", ylabel="quantum − classical (kJ/mol)")
