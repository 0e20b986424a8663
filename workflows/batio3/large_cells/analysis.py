"""Polarisation, cell and cost of the simulations of simulate.py; writes results/large_cells.json and .png.

python analysis.py [--runs runs]

Results of simulations that are not there any more stay.
"""

import argparse
import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from ase.io import iread
from simulate import HERE, SIZES, temperatures

sys.path.insert(0, str(HERE.parent))
from observables import PHASES, binder, figure, halves, phase_of, windows, write_results

from forceserver.configuration import read_configuration
from forceserver.cv import build_variables
from forceserver.frame import Array, Frame

STEPS_BETWEEN = 20
PS = 0.003 * STEPS_BETWEEN
"""Between two frames."""
EQUILIBRATION_PS = 5.0
WINDOW = round(2.0 / PS)
"""Frames that are averaged before a phase is read off, as in ../npt."""


def polarisation(run: Path) -> Array:
    """(n, 3), Angstrom. After a restart LAMMPS writes the steps since the restart file again; the last ones count."""
    section = read_configuration(HERE.parent / "finite_size" / "forceserver.toml").cv
    variable, found = None, {}
    path = run / "trajectory.lammpstrj"
    steps = [int(step) for step in re.findall(r"ITEM: TIMESTEP\n(\d+)", path.read_text())]
    for step, atoms in zip(
        steps, iread(path, index=":", format="lammps-dump-text", specorder=["Ba", "Ti", "O"]), strict=False
    ):
        frame = Frame.from_ase(atoms)
        if variable is None:
            (variable,) = build_variables(section, frame).values()
        found[step] = variable.compute(frame).values[:3]
    return np.array([found[step] for step in sorted(found)])


def cost(run: Path) -> float:
    """Processor seconds of all ranks for each step, from LAMMPS's own table; other jobs may share the machine."""
    text = (run / "log.lammps").read_text()
    loops = re.findall(r"Loop time of (\S+) on (\d+) procs for (\d+) steps.*?(\S+)% CPU use", text, flags=re.DOTALL)
    seconds = sum(float(wall) * int(ranks) * float(share) / 100 for wall, ranks, _, share in loops)
    return seconds / sum(int(steps) for _, _, steps, _ in loops)


def summary(s: Array) -> dict:
    """What the table shows: components by length, |s|, Binder parameter with those of both halves, shares of phases."""
    means = windows(s, WINDOW)
    phases = phase_of(means)
    return {
        "ps": len(s) * PS,
        "norm": halves(np.linalg.norm(s, axis=1)),
        "sorted": -np.sort(-np.abs(means), axis=1).mean(axis=0),
        "binder": [binder(part) for part in (s, *np.array_split(s, 2))],
        "shares": [float(np.mean(phases == k)) for k in range(len(PHASES))],
    }


def draw(path: Path, table: dict) -> None:
    """Components of the polarisation, and the Binder parameter, against temperature for each size."""
    with figure(path, 3, width=9.0, height=2.8) as (left, middle, right):
        for size, colour in zip(SIZES, ("#a9c6df", "#5b8db8", "#1f4a73"), strict=True):
            rows = {kelvin: table[f"{size}_{kelvin}"] for kelvin in temperatures(size) if f"{size}_{kelvin}" in table}
            if not rows:
                continue
            label = f"{size}×{size}×{size}"
            norm, first, second = np.array([row["norm"] for row in rows.values()]).T
            left.errorbar(list(rows), norm, np.abs(first - second) / 2, color=colour, fmt="o-", ms=3, lw=1, label=label)
            for component in np.array([row["sorted"] for row in rows.values()]).T:
                middle.plot(list(rows), component, "o-", ms=3, lw=1, color=colour)
            whole, first, second = np.array([row["binder"] for row in rows.values()]).T
            right.errorbar(list(rows), whole, np.abs(first - second) / 2, color=colour, fmt="o-", ms=3, lw=1)
        left.set(xlabel="T (K)", ylabel=r"$\langle|s|\rangle$ (Å)", ylim=(0, None))
        left.legend(frameon=False)
        middle.set(xlabel="T (K)", ylabel=r"sorted $|s_i|$ over 2 ps (Å)", ylim=(0, None))
        right.set(xlabel="T (K)", ylabel="Binder parameter", ylim=(None, 1.05))


def half_order_kelvin(table: dict, size: int) -> float | None:
    """Where the largest component falls to half of its mean below 185 K, interpolated; None if that is not known."""
    rows = [(k, table[f"{size}_{k}"]["sorted"][0]) for k in temperatures(size) if f"{size}_{k}" in table]
    half = np.mean([largest for kelvin, largest in rows if kelvin < 185] or [0.0]) / 2
    for (below, above_half), (kelvin, largest) in pairwise(rows):
        if above_half > half >= largest:
            return below + (above_half - half) / (above_half - largest) * (kelvin - below)
    return None


def show(table: dict) -> None:
    print("size   K    ps    |s|  halves        sorted |s_i|         Binder  halves         R    O    T    C    CPU ms")
    for name, row in table.items():
        size, kelvin = map(int, name.split("_"))
        print(
            f"{size:3d} {kelvin:5d} {row['ps']:5.1f}  " + " ".join(f"{x:.3f}" for x in row["norm"]) + "  "
            + " ".join(f"{x:.3f}" for x in row["sorted"]) + "  " + " ".join(f"{x:6.3f}" for x in row["binder"])
            + "  " + " ".join(f"{x:.2f}" for x in row["shares"]) + f"  {1e3 * row['cpu_seconds_per_step']:.1f}"
        )  # fmt: skip
    for size in SIZES:
        print(f"half of the order: {size}x{size}x{size} {half_order_kelvin(table, size) or float('nan'):.0f} K")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    wanted = parser.parse_args()
    kept = wanted.output / "large_cells.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    table = {}
    for size in SIZES:
        for kelvin in temperatures(size):
            run = wanted.runs / f"{size}_{kelvin}"
            if (run / "end.restart").exists():
                row = table[run.name] = summary(polarisation(run)[round(EQUILIBRATION_PS / PS) :])
                row["cpu_seconds_per_step"] = cost(run)
            elif run.name in known:
                table[run.name] = known[run.name]
    show(table)
    wanted.output.mkdir(exist_ok=True)
    write_results(kept, table)
    draw(wanted.output / "large_cells.png", table)


if __name__ == "__main__":
    main()
