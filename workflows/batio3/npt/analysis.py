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
SKIP = 1 / 5
"""Of each trajectory is left out."""
WINDOW_PS = 2.0
"""Means over so long tell phases apart."""
BLOCK_PS = 10.0
SAMPLES = 400
"""Errors of transition temperatures are from so many samples of blocks of that length."""
PUBLISHED = {"R-O": 18.6, "O-T": 91.4, "T-C": 182.4}
"""K; Gigli et al., npj Comput. Mater. 8, 209 (2022): PBEsol, 4x4x4 cells."""


def analyse(folder: Path) -> str:
    """Writes npt.json and npt.png into `folder`; returns a table."""
    starts = [start for start in STARTS if (folder / start).exists()]
    results = {"model": checksum(folder / starts[0]), "skipped": SKIP}
    lines, parts = [], {}
    for start in starts:
        frames = read_frames(folder / start)
        chosen = {kelvin: frames.at(kelvin, SKIP * frames.time_ps.max()) for kelvin in frames.temperatures}
        table = {kelvin: _at(part) for kelvin, part in chosen.items()}
        parts[start] = {kelvin: blocks(part) for kelvin, part in chosen.items()}
        results[start] = {"ps": float(frames.time_ps.max()), "at": table}
        lines += [f"{STARTS[start]}, {frames.time_ps.max():.1f} ps", *_lines(table), ""]
    together = {kelvin: np.concatenate([part[kelvin] for part in parts.values()]) for kelvin in parts[starts[0]]}
    found = {name: transitions(part) for name, part in {"both": together, **parts}.items()}
    by_shares = half_shares([results[start]["at"] for start in starts])
    results |= {"transitions": found, "transitions by shares": by_shares}
    lines.append("     " + "".join(f"{STARTS.get(name, name):>20}" for name in found) + "   by shares   published")
    for name, published in PUBLISHED.items():
        numbers = "".join(f"{found[part][name][0]:12.0f} +- {found[part][name][1]:2.0f} K" for part in found)
        lines.append(f"{name}  {numbers} {by_shares[name]:9.0f} K {published:9.1f} K")
    write_results(folder / "npt.json", results)
    _draw(folder / "npt.png", {start: results[start]["at"] for start in starts}, found["both"])
    return "\n".join(lines)


def _lines(table: dict) -> Iterator[str]:
    yield "   K     R    O    T    C    halves |s|      sorted |s_i|          cell (A)             angles"
    for kelvin, row in table.items():
        shares = " ".join(f"{row['populations'][phase][0]:4.2f}" for phase in PHASES)
        norms = f"{row['norm'][1]:.3f} {row['norm'][2]:.3f}"
        components = " ".join(f"{x:.3f}" for x in row["components"])
        cell = " ".join(f"{x:.4f}" for x in row["lengths"]) + "  " + " ".join(f"{x:.2f}" for x in row["angles"])
        yield f"{kelvin:5.0f}  {shares}  {norms}  {components}  {cell}"


def blocks(frames: Frames) -> np.ndarray:
    """Means over `BLOCK_PS` of the squares of sorted components of s, (n, 3)."""
    squares = _sorted_windows(frames)[0] ** 2
    count = max(round(np.ptp(frames.time_ps) / BLOCK_PS), 1)
    return np.array([part.mean(axis=0) for part in np.array_split(squares, min(count, len(squares)))])


def transitions(blocks: dict[float, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Temperatures of R-O, O-T and T-C with their errors, from blocks by temperature; nan if there is none.

    The error is the standard deviation over samples of the blocks, with repetition, at each temperature.
    """
    kelvin, random = np.array(list(blocks)), np.random.default_rng(2022)
    whole = crossings(kelvin, np.array([part.mean(axis=0) for part in blocks.values()]))
    samples = np.array(
        [
            crossings(kelvin, np.array([random.choice(part, len(part)).mean(axis=0) for part in blocks.values()]))
            for _ in range(SAMPLES)
        ]
    )
    errors = [np.std(column[np.isfinite(column)]) if np.isfinite(column).any() else np.nan for column in samples.T]
    return {name: (float(x), float(error)) for name, x, error in zip(PUBLISHED, whole, errors, strict=True)}


def crossings(kelvin: np.ndarray, squares: np.ndarray) -> list[float]:
    """Where phases end: R-O, O-T, T-C of mean sorted s_i^2, largest first (n, 3); nan if that happens nowhere.

    R-O: the smallest falls to half of the largest. O-T: the middle one falls to the mean of the others, halfway between
    (1, 1, 0) and (1, 0, 0); looked for above the temperature where it is highest in comparison. T-C: the largest falls
    to a quarter, the component to half, of what it is at the lowest temperature.
    """
    a, b, c = squares.T
    two = (b - (a + c) / 2) / a
    first = int(np.argmax(two))
    return [zero(kelvin, c / a - 0.5), zero(kelvin[first:], two[first:]), zero(kelvin, a / a[0] - 0.25)]


def half_shares(tables: list[dict]) -> dict[str, float]:
    """Where the shares of R, of R and O, and of R, O and T fall to a half."""
    shares = [[[row["populations"][phase][0] for phase in PHASES] for row in table.values()] for table in tables]
    below = np.cumsum(np.mean(shares, axis=0), axis=1)
    kelvin = np.array(list(tables[0]))
    return {name: zero(kelvin, below[:, k] - 0.5) for k, name in enumerate(PUBLISHED)}


def zero(x: np.ndarray, y: np.ndarray) -> float:
    """Where y, interpolated, falls from positive to negative; nan if it does not.

    If noise makes it do so more than once: where the falls would be if the parts between them were sorted by sign.
    """
    found = [0.0, 0.0]
    for k in np.flatnonzero((y[:-1] > 0) != (y[1:] > 0)):
        found[int(y[k] <= 0)] += x[k] + y[k] / (y[k] - y[k + 1]) * (x[k + 1] - x[k])
    return found[0] - found[1] if y[0] > 0 >= y[-1] else np.nan


def _sorted_windows(frames: Frames) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Window means of |s_i|, largest first, and of lengths (Angstrom) and angles (degrees) of the cell along them."""
    spacing = float(np.median(np.diff(frames.time_ps)))
    length = max(min(round(WINDOW_PS / spacing), len(frames.s) // 2), 1)
    s, cell = windows(frames.s, length), windows(frames.cell, length)
    order = np.argsort(-np.abs(s), axis=1)
    values = (np.abs(s), np.linalg.norm(cell, axis=2), _angles(cell, s))
    return tuple(np.take_along_axis(part, order, axis=1) for part in values)


def _at(frames: Frames) -> dict:
    """What is to be known at one temperature; lists of three are the whole, the first and the second half."""
    components, lengths, angles = _sorted_windows(frames)
    phases = phase_of(components)
    populations = {phase: halves(phases == k) for k, phase in enumerate(PHASES)}
    return {
        "phase": max(PHASES, key=lambda phase: populations[phase][0]),
        "populations": populations,
        "norm": halves(np.linalg.norm(components, axis=1)),
        "binder": [binder(part) for part in (frames.s, *np.array_split(frames.s, 2))],
        "components": components.mean(axis=0),
        "lengths": lengths.mean(axis=0),
        "angles": angles.mean(axis=0),
        "volume": halves(np.linalg.det(frames.cell)),
    }


def _angles(cells: np.ndarray, s: np.ndarray) -> np.ndarray:
    """alpha, beta, gamma (n, 3) in degrees, after reflections that make all components of s positive."""
    unit = np.sign(s)[:, :, None] * cells / np.linalg.norm(cells, axis=2, keepdims=True)
    cosines = [np.sum(unit[:, i] * unit[:, j], axis=1) for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.degrees(np.arccos(np.stack(cosines, axis=1)))


def _draw(path: Path, tables: dict[str, dict], found: dict[str, tuple[float, float]]) -> None:
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
                for axes, what in ((middle, "components"), (right, "lengths")):
                    values = [row[what][k] for row in table.values()]
                    axes.plot(list(table), values, style, color=colour, ms=3, lw=1, label=label)
        for axes in (middle, right):
            for temperature, error in found.values():
                axes.axvspan(temperature - error, temperature + error, color="#d0d0d0", lw=0, zorder=0)
        middle.set(xlabel="T (K)", ylabel=r"components $|s_i|$ (Å)", ylim=(0, 0.12))
        middle.legend(frameon=False)
        right.set(xlabel="T (K)", ylabel="cell along the same axes (Å)")
