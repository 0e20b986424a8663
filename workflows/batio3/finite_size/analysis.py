"""The length of the polarisation of 2x2x2, 3x3x3 and 4x4x4 cells with temperature."""

from pathlib import Path

import numpy as np
from observables import Frames, binder, checksum, distribution, figure, halves, read_frames, write_results

SKIP = 1 / 5
"""Of each trajectory is left out."""
EDGES = np.linspace(0, 0.25, 26)
BLUES = {"2": "#a9c6df", "3": "#5b8db8", "4": "#1f4a73"}


def analyse(folder: Path) -> str:
    """Writes finite_size.json and finite_size.png into `folder`; returns a table. The largest size is that of npt."""
    runs = {"2": folder / "2", "3": folder / "3", "4": folder.parent / "npt" / "from_R"}
    runs = {size: run for size, run in runs.items() if run.exists()}
    results = {"edges": EDGES, "model": {size: checksum(run) for size, run in runs.items()}}
    for size, run in runs.items():
        frames = read_frames(run)
        after = SKIP * frames.time_ps.max()
        table = {kelvin: _at(frames.at(kelvin, after)) for kelvin in frames.temperatures}
        results[size] = {"ps": float(frames.time_ps.max()), "at": table}
    crossings = {
        f"{a} and {b}": crossing(*(_binders(results[size]["at"]) for size in (a, b)))
        for a, b in (("2", "3"), ("2", "4"), ("3", "4"))
        if a in runs and b in runs
    }
    results["crossings"] = crossings
    write_results(folder / "finite_size.json", results)
    _draw(folder / "finite_size.png", {size: results[size]["at"] for size in runs})
    lines = ["size   K    <|s|>  halves         Binder  halves"]
    for size in runs:
        for kelvin, row in results[size]["at"].items():
            norms = "  ".join(f"{x:.4f}" for x in row["norm"])
            lines.append(f"{size:>3} {kelvin:6.0f}  {norms}  " + " ".join(f"{x:6.3f}" for x in row["binder"]))
    for pair, found in crossings.items():
        lines.append(
            f"Binder parameters of {pair} cross at " + (", ".join(f"{x:.0f} K" for x in found) or "none of these")
        )
    return "\n".join(lines)


def _at(frames: Frames) -> dict:
    return {
        "norm": halves(frames.norm),
        "binder": [binder(part) for part in (frames.s, *np.array_split(frames.s, 2))],
        "distribution": distribution(frames.norm, EDGES),
    }


def _binders(table: dict) -> tuple[np.ndarray, np.ndarray]:
    return np.array(list(table)), np.array([row["binder"][0] for row in table.values()])


def crossing(smaller: tuple[np.ndarray, np.ndarray], larger: tuple[np.ndarray, np.ndarray]) -> list[float]:
    """Temperatures at which the parameter of the larger system falls below that of the smaller one, interpolated."""
    kelvin, i, j = np.intersect1d(smaller[0], larger[0], return_indices=True)
    difference = larger[1][j] - smaller[1][i]
    found = []
    for k in range(len(kelvin) - 1):
        a, b = difference[k : k + 2]
        if a > 0 >= b:
            found.append(float(kelvin[k] + a / (a - b) * (kelvin[k + 1] - kelvin[k])))
    return found


def _draw(path: Path, tables: dict[str, dict]) -> None:
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    kelvin = np.array(list(next(iter(tables.values()))))
    with figure(path, 4, width=9.6, height=2.6) as (*left, right):
        for axes, wanted in zip(left, np.quantile(kelvin, [0, 0.5, 1], method="nearest"), strict=True):
            for size, table in tables.items():
                axes.plot(middles, table[wanted]["distribution"], color=BLUES[size], label=f"{size}×{size}×{size}")
            axes.set(xlabel=r"$|s|$ (Å)", title=f"{wanted:.0f} K", ylim=(0, None))
        left[0].set_ylabel(r"distribution (Å$^{-1}$)")
        left[0].legend(frameon=False)
        for size, table in tables.items():
            whole, first, second = np.array([row["binder"] for row in table.values()]).T
            error = np.abs(first - second) / 2
            right.errorbar(list(table), whole, error, color=BLUES[size], fmt="o-", ms=3, lw=1, elinewidth=0.8)
        right.set(xlabel="T (K)", ylabel="Binder parameter", ylim=(-0.15, 1.05))
