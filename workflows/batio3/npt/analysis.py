"""Phases, polarisation and cell of the 4x4x4 crystal with temperature."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from observables import (
    COLOURS,
    PHASES,
    Frames,
    binder,
    checksum,
    figure,
    halves,
    phase_of,
    read_frames,
    windows,
    write_results,
)

LINES = ("#1f4a73", "#5b8db8", "#d1731f")
STARTS = {"from_R": "begun rhombohedral", "from_T": "begun tetragonal"}
SKIP = 1 / 3
"""Of each trajectory is left out."""
WINDOW_PS = 2.0
"""Means over so long tell phases apart."""
PUBLISHED = {"R-O": 18.6, "O-T": 91.4, "T-C": 182.4}
"""K; Gigli et al., npj Comput. Mater. 8, 209 (2022): PBEsol, 4x4x4 cells."""


def analyse(folder: Path) -> str:
    """Writes npt.json and npt.png into `folder`; returns a table."""
    starts = [start for start in STARTS if (folder / start).exists()]
    results = {"model": checksum(folder / starts[0]), "skipped": SKIP}
    lines = []
    for start in starts:
        frames = read_frames(folder / start)
        table = {kelvin: _at(frames.at(kelvin, SKIP * frames.time_ps.max())) for kelvin in frames.temperatures}
        found = {name: transitions(table, name) for name in PUBLISHED}
        results[start] = {"ps": float(frames.time_ps.max()), "at": table, "transitions": found}
        lines += [f"{STARTS[start]}, {frames.time_ps.max():.1f} ps", *_lines(table, found), ""]
    write_results(folder / "npt.json", results)
    _draw(folder / "npt.png", {start: results[start]["at"] for start in starts})
    return "\n".join(lines)


def _lines(table: dict, found: dict) -> Iterator[str]:
    yield "   K     R    O    T    C    halves |s|      sorted |s_i|          cell (A)             angles"
    for kelvin, row in table.items():
        shares = " ".join(f"{row['populations'][phase][0]:4.2f}" for phase in PHASES)
        norms = f"{row['norm'][1]:.3f} {row['norm'][2]:.3f}"
        components = " ".join(f"{x:.3f}" for x in row["components"][0])
        cell = " ".join(f"{x:.4f}" for x in row["lengths"][0]) + "  " + " ".join(f"{x:.2f}" for x in row["angles"])
        yield f"{kelvin:5.0f}  {shares}  {norms}  {components}  {cell}"
    for name, temperatures in found.items():
        kelvin = ", ".join("none" if x is None else f"{x:.0f} K" for x in temperatures)
        yield f"{name} (all, halves): {kelvin}; published {PUBLISHED[name]:.0f} K"


def transitions(table: dict, name: str) -> list[float | None]:
    """Where a phase ends: from all data, from the first and from the second half.

    R-O: the smallest component of s falls to half of the largest. O-T: along the middle component the cell becomes
    shorter than the mean of the other lengths, so one axis is long instead of two (looked for above the temperature at
    which it is longest in comparison). T-C: the largest component falls to half of what it is at the lowest
    temperature. Linear interpolation between temperatures; None if that happens at none of them.
    """
    kelvin = np.array(list(table))
    largest, _, smallest = np.array([row["components"] for row in table.values()]).transpose(2, 1, 0)
    a, b, c = np.array([row["lengths"] for row in table.values()]).transpose(2, 1, 0)
    curves = {"R-O": smallest / largest - 0.5, "O-T": b - (a + c) / 2, "T-C": largest / largest[:, :1] - 0.5}[name]
    found = []
    for curve in curves:
        first = int(np.argmax(curve)) if name == "O-T" else 0
        falls = first + np.flatnonzero((curve[first:-1] > 0) & (curve[first + 1 :] <= 0))
        k = falls[0] if len(falls) else None
        found.append(None if k is None else float(np.interp(0, [-curve[k], -curve[k + 1]], [kelvin[k], kelvin[k + 1]])))
    return found


def _at(frames: Frames) -> dict:
    """What is to be known at one temperature; lists of three are the whole, the first and the second half."""
    spacing = float(np.median(np.diff(frames.time_ps)))
    length = min(round(WINDOW_PS / spacing), len(frames.s) // 2)
    s, cell = windows(frames.s, length), windows(frames.cell, length)
    phases, components = phase_of(s), -np.sort(-np.abs(s), axis=1)
    order = np.argsort(-np.abs(s), axis=1)
    lengths = np.take_along_axis(np.linalg.norm(cell, axis=2), order, axis=1)
    angles = np.take_along_axis(_angles(cell, s), order, axis=1)
    populations = {phase: halves(phases == k) for k, phase in enumerate(PHASES)}
    return {
        "phase": max(PHASES, key=lambda phase: populations[phase][0]),
        "populations": populations,
        "norm": halves(np.linalg.norm(s, axis=1)),
        "binder": [binder(part) for part in (frames.s, *np.array_split(frames.s, 2))],
        "components": _whole_and_halves(components),
        "lengths": _whole_and_halves(lengths),
        "angles": angles.mean(axis=0),
        "volume": halves(np.linalg.det(frames.cell)),
    }


def _whole_and_halves(values: np.ndarray) -> list[np.ndarray]:
    return [part.mean(axis=0) for part in (values, *np.array_split(values, 2))]


def _angles(cells: np.ndarray, s: np.ndarray) -> np.ndarray:
    """alpha, beta, gamma (n, 3) in degrees, after reflections that make all components of s positive."""
    unit = np.sign(s)[:, :, None] * cells / np.linalg.norm(cells, axis=2, keepdims=True)
    cosines = [np.sum(unit[:, i] * unit[:, j], axis=1) for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.degrees(np.arccos(np.stack(cosines, axis=1)))


def _draw(path: Path, tables: dict[str, dict]) -> None:
    with figure(path, 4, width=10.0, height=2.7) as (*shares, middle, right):
        for axes, (start, table) in zip(shares, tables.items(), strict=False):
            kelvin = list(table)
            parts = [[row["populations"][phase][0] for row in table.values()] for phase in PHASES]
            axes.stackplot(kelvin, parts, labels=PHASES, colors=[COLOURS[phase] for phase in PHASES], lw=0)
            for temperature in PUBLISHED.values():
                axes.axvline(temperature, color="black", lw=0.8, ls=":")
            axes.set(xlabel="T (K)", title=STARTS[start], xlim=(kelvin[0], kelvin[-1]), ylim=(0, 1))
        shares[0].set_ylabel("share of the phases")
        shares[0].legend(loc="lower left", framealpha=0.9, handlelength=1, labelspacing=0.2)
        for table, style in zip(tables.values(), ("o-", "s--"), strict=False):
            for k, (label, colour) in enumerate(zip(("largest", "middle", "smallest"), LINES, strict=True)):
                label = None if style != "o-" else label
                values = (
                    [row["components"][0][k] for row in table.values()],
                    [row["lengths"][0][k] for row in table.values()],
                )
                for axes, part in zip((middle, right), values, strict=True):
                    axes.plot(list(table), part, style, color=colour, ms=3, lw=1, label=label)
        middle.set(xlabel="T (K)", ylabel=r"components $|s_i|$ (Å)", ylim=(0, None))
        middle.legend(frameon=False)
        right.set(xlabel="T (K)", ylabel="cell along the same axes (Å)")
