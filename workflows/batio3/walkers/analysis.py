"""The free energy of the polarisation from walkers that share their hills, and whether all directions were found."""

from itertools import product
from pathlib import Path

import numpy as np
from observables import (
    checksum,
    figure,
    log_weights,
    profile,
    read_biased,
    write_results,
)

from forceserver.bias.hills import read_hills
from forceserver.free_energy.colvar import Colvar

KELVIN = 75.0
SKIP = 0.1
"""Of each walker is left out: the bias grows fast."""
EDGES = np.linspace(0, 0.24, 25)
COMPONENTS = ("polarization_x", "polarization_y", "polarization_z")
OCTANTS = list(product((False, True), repeat=3))


def analyse(folder: Path) -> str:
    """Writes walkers.json and walkers.png into `folder`; returns a summary."""
    files = sorted(folder.glob("*/COLVAR.*"))
    together = read_biased(files, SKIP)
    found = profile(files, SKIP, KELVIN, EDGES)
    octants = [octant_populations(read_biased(files, SKIP, half)) for half in (None, 0, 1)]
    singly = [octant_populations(read_biased([path], SKIP)) for path in files]
    results = {
        "model": checksum(folder / "0"),
        "kelvin": KELVIN,
        "unit": "kJ/mol",
        "walkers": len(files),
        "ps of each": float(together.rows[:, 0].max()),
        "hills": sum(len(read_hills(path).times) for path in folder.glob("hills/HILLS.*")),
        "s": found.s,
        "free_energy": found.f,
        "error": found.error,
        "halves": found.halves,
        "disagreement": found.disagreement,
        "octants": octants,
        "octants of walkers": singly,
    }
    write_results(folder / "walkers.json", results)
    _draw(folder / "walkers.png", results)
    lines = [f"{len(files)} walkers, {results['ps of each']:.1f} ps each, {results['hills']} hills"]
    likely = found.s[np.nanargmin(found.f)]
    lines.append(f"most likely |s| {likely:.3f}; halves {found.disagreement:.1f} errors apart (1 expected)")
    lines.append("octants (by symmetry 0.125): " + " ".join(f"{p:.3f}" for p in octants[0]))
    spread = [np.std(populations) for populations in (octants[0], *singly)]
    return "\n".join([*lines, "their spread, together and of each walker: " + " ".join(f"{x:.3f}" for x in spread)])


def octant_populations(colvar: Colvar) -> np.ndarray:
    """The weight of each octant of the polarisation, without bias."""
    logs = log_weights(colvar, KELVIN)
    weights = np.exp(logs - logs.max())
    positive = np.stack([colvar.column(name) > 0 for name in COMPONENTS], axis=1)
    return np.array([weights[(positive == octant).all(axis=1)].sum() for octant in OCTANTS]) / weights.sum()


def _draw(path: Path, results: dict) -> None:
    with figure(path, 2) as (left, right):
        s, f, error = results["s"], results["free_energy"], results["error"]
        lowest = np.nanmin(f)
        left.plot(s, f - lowest, color="#2b5c8a")
        left.fill_between(s, f - lowest - error, f - lowest + error, color="#2b5c8a", alpha=0.25, lw=0)
        for half in results["halves"]:
            left.plot(s, half - lowest, color="#2b5c8a", lw=0.7, ls=":")
        left.set(xlabel=r"$|s|$ (Å)", ylabel=r"$-kT\,\ln p(|s|)$ (kJ/mol)", ylim=(-0.3, 6))
        places = np.arange(8)
        for number, populations in enumerate(results["octants of walkers"]):
            label = "each walker" if number == 0 else None
            right.plot(places, populations, "_", ms=9, color="#9a9a9a", label=label)
        right.plot(places, results["octants"][0], "o", ms=5, color="#2b5c8a", label="together")
        right.axhline(1 / 8, color="#707070", lw=0.8, ls=":")
        labels = ["".join("+" if positive else "−" for positive in octant) for octant in OCTANTS]
        right.set(xticks=places, xticklabels=labels, ylabel="population of the octant", ylim=(0, None))
        right.legend(frameon=False)
