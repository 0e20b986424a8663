"""What quantum nuclei do to the free energy of |s|: path integrals (of the centroid) beside classical mechanics."""

from pathlib import Path

import numpy as np
from observables import checksum, figure, mean_and_error, profile, properties, write_results

KELVIN = 100.0
SKIP = 0.1
"""Of each run is left out: the bias grows fast."""
EDGES = np.linspace(0, 0.24, 25)
COLOURS = {"1": "#d1731f", "8": "#7fa8c9", "16": "#2b5c8a"}
"""Of the runs, by number of beads, whose free energy is drawn."""


def analyse(folder: Path) -> str:
    """Writes path_integral.json and path_integral.png into `folder`; returns a summary."""
    runs = {path.name: _results(path) for path in sorted(folder.iterdir(), key=_beads) if (path / "COLVAR").exists()}
    for name, run in runs.items():
        if name != "1":
            run["minus classical"] = run["free_energy"] - runs["1"]["free_energy"]
            run["error of that"] = np.hypot(run["error"], runs["1"]["error"])
    s = (EDGES[1:] + EDGES[:-1]) / 2
    head = {"model": checksum(folder / "1"), "kelvin": KELVIN, "unit": "kJ/mol", "s": s}
    write_results(folder / "path_integral.json", head | {"beads": runs})
    _draw(folder / "path_integral.png", s, {name: runs[name] for name in COLOURS if name in runs}, runs)
    lines = ["beads    ps     <|s|>             most likely   kinetic energy (eV)    halves apart (errors)"]
    for name, run in runs.items():
        norm, kinetic = (f"{run[key][0]:.4f} +- {run[key][1]:.4f}" for key in ("norm", "kinetic"))
        likely, apart = run["most likely"], run["disagreement"]
        lines.append(f"{name:>5} {run['ps']:6.1f}   {norm} {likely:10.3f}     {kinetic} {apart:16.1f}")
    return "\n".join(lines)


def _beads(run: Path) -> int:
    return int(run.name) if run.name.isdigit() else 0


def _results(run: Path) -> dict:
    """The free energy of one run, normalised, with its halves; means over the distribution without bias."""
    table = properties(run / "out.properties")
    found = profile([run / "COLVAR"], SKIP, KELVIN, EDGES)
    whole = found.estimates[0]
    return {
        "ps": float(table["time"][-1]),
        "free_energy": found.f,
        "error": found.error,
        "halves": found.halves,
        "disagreement": found.disagreement,
        "norm": [float(whole.surface.probability(whole.kt) @ found.s), float(whole.error(whole.samples @ found.s))],
        "most likely": float(found.s[np.nanargmin(found.f)]),
        "kinetic": mean_and_error(table["kinetic_cv"][round(SKIP * len(table["time"])) :]),
    }


def _draw(path: Path, s: np.ndarray, drawn: dict[str, dict], runs: dict[str, dict]) -> None:
    with figure(path, 3, width=9.6) as (left, middle, right):
        lowest = min(np.nanmin(run["free_energy"]) for run in drawn.values())
        for name, run in drawn.items():
            f, band = run["free_energy"] - lowest, run["error"]
            left.plot(s, f, color=COLOURS[name], label="classical" if name == "1" else f"{name} beads")
            left.fill_between(s, f - band, f + band, color=COLOURS[name], alpha=0.25, lw=0)
            for half in run["halves"]:
                left.plot(s, half - lowest, color=COLOURS[name], lw=0.6, ls=":")
            if name != "1":
                seen = np.isfinite(run["error of that"]) & (drawn["1"]["free_energy"] - lowest < 6)
                difference, error = run["minus classical"][seen], run["error of that"][seen]
                middle.errorbar(s[seen], difference, error, fmt="o-", ms=3, lw=1, color=COLOURS[name])
        left.set(xlabel=r"$|s|$ (Å)", ylabel=r"$-kT\,\ln p(|s|)$ (kJ/mol)", ylim=(-0.3, 6))
        left.legend(frameon=False)
        middle.axhline(0, color="#707070", lw=0.8)
        middle.set(xlabel=r"$|s|$ (Å)", ylabel="quantum − classical (kJ/mol)")
        kinetic, error = np.array([run["kinetic"] for run in runs.values()]).T
        right.errorbar(list(map(int, runs)), kinetic, error, fmt="o-", ms=4, lw=1, color=COLOURS["16"])
        right.set(xlabel="beads", ylabel="kinetic energy (eV)", xscale="log", ylim=(0, None))
        right.set_xticks(list(map(int, runs)), list(runs))
        right.minorticks_off()
