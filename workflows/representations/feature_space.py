"""(h): what densities, radial scaling, cutoffs and sorted distances know of one another."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.io import read
from common import RESULTS, features, methane, section

from forceserver.analysis.features import Split, compact, reconstruction

METHANES = 300
SIGMAS = (0.2, 0.3, 0.5, 0.8)
CUTOFFS = (2.5, 3.0, 4.0, 5.0)
SCALING = {"rate": 1.0, "scale_angstrom": 2.0, "exponent": 4}


def comparisons(every: int, molecules: Path) -> dict:
    """GFRE and GFRD from row to column of every family."""
    carbon = {"centres": ["C"]}
    random = methane(METHANES)
    small = [atoms for atoms in read(molecules, f"::{every}") if "C" in atoms.symbols]
    found = {
        "density (σ in Å), random methane": table({f"{s:g}": section(6, 4, 4.0, s, **carbon) for s in SIGMAS}, random),
        "radial scaling, molecules": table(
            {"without": section(4, 3, 4.0, 0.4, **carbon), "with": section(4, 3, 4.0, 0.4, scaling=SCALING, **carbon)},
            small,
        ),
        "cutoff (Å), molecules": table({f"{r:g}": section(4, 3, r, 0.4, **carbon) for r in CUTOFFS}, small),
        "order ν, random methane": table(
            {
                "1": section(6, 4, 4.0, 0.3, power_spectrum=False, **carbon),
                "2": section(6, 4, 4.0, 0.3, **carbon),
                "3": section(6, 4, 4.0, 0.3, contraction={"mixed": True, "q_max": 6}, multispectrum=ORDER_3, **carbon),
            },
            random,
        ),
        "radial, random methane": radial(random),
    }
    _draw(found)
    return found


ORDER_3 = {"nu": 3, "n_components": 30, "n_invariants": 150, "num_expand": 300}


def table(sections: dict, structures: list) -> dict:
    """By names of both sides; the diagonal is left out."""
    sets = {name: features(section, structures) for name, section in sections.items()}
    return _table({name: x for name, (x, _) in sets.items()}, next(iter(sets.values()))[1])


def radial(structures: list) -> dict:
    """SOAP with l = 0 against sorted distances: the inverse of the cumulative distribution of distances."""
    soap = {
        f"SOAP, σ {s:g}": features(section(12, 0, 4.0, s, power_spectrum=False, centres=["C"]), structures)[0]
        for s in (0.2, 0.5)
    }
    sorted_distances = np.sort([np.linalg.norm(a.positions[1:] - a.positions[0], axis=1) for a in structures], axis=1)
    return _table(soap | {"sorted": sorted_distances}, np.arange(len(structures)))


def _table(sets: dict[str, np.ndarray], structure: np.ndarray) -> dict:
    split = Split.of(structure, 0)
    sets = {name: compact(x) for name, x in sets.items()}
    names = list(sets)
    pairs = {(a, b): reconstruction(sets[a], sets[b], split) for a in names for b in names if a != b}
    measures = {
        measure: [[pairs[a, b][k] if a != b else 0.0 for b in names] for a in names]
        for k, measure in enumerate(("gfre", "gfrd"))
    }
    return {"names": names, "environments": len(structure), **measures}


def _draw(found: dict) -> None:
    figure, axes = plt.subplots(2, len(found), figsize=(2.3 * len(found), 4.4), layout="constrained")
    for column, (title, one) in zip(axes.T, found.items(), strict=True):
        for axis, measure in zip(column, ("gfre", "gfrd"), strict=True):
            values, ticks = np.array(one[measure]), range(len(one["names"]))
            axis.imshow(values, vmin=0, vmax=1, cmap="viridis")
            for i, j in np.ndindex(values.shape):
                if i != j:
                    colour = "white" if values[i, j] < 0.6 else "black"
                    axis.text(j, i, f"{values[i, j]:.2g}", ha="center", va="center", color=colour, fontsize=6)
            axis.set(xticks=ticks, yticks=ticks, ylabel="from")
            axis.set_xticklabels(one["names"], fontsize=6)
            axis.set_yticklabels(one["names"], fontsize=6)
            axis.set_title(f"{measure.upper()}\n{title}" if measure == "gfre" else measure.upper(), fontsize=7)
    figure.savefig(RESULTS / "feature_space.png", dpi=110)
