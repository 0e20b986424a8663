"""Exchanges of temperature, and the polarisation at every temperature, from replicas that have been everywhere."""

from pathlib import Path

import numpy as np
from observables import Frames, binder, checksum, figure, halves, read_frames, write_results

SKIP = 0.1
"""Of the trajectories is left out."""


def analyse(folder: Path) -> str:
    """Writes replica_exchange.json and .png into `folder`; returns a table.

    If finite_size was run, too, its plain simulations of the same crystal are drawn beside it.
    """
    frames = read_frames(folder / "2")
    after = SKIP * frames.time_ps.max()
    table = {kelvin: _at(frames.at(kelvin, after)) for kelvin in frames.temperatures}
    trips = round_trips(frames)
    plain = folder.parent / "finite_size" / "2"
    others = _plain(plain) if plain.exists() else {}
    results = {"model": checksum(folder / "2"), "ps": float(frames.time_ps.max()), "at": table, "round trips": trips}
    write_results(folder / "replica_exchange.json", results | {"without exchange": others})
    _draw(folder / "replica_exchange.png", frames, table, others)
    lines = ["   K    <|s|>  halves          Binder  halves         replicas seen  octants seen"]
    for kelvin, row in table.items():
        norms = "  ".join(f"{x:.4f}" for x in row["norm"])
        numbers = " ".join(f"{x:6.3f}" for x in row["binder"])
        lines.append(f"{kelvin:5.0f}  {norms}  {numbers}  {row['replicas']:8d} {row['octants']:14d}")
    return "\n".join([*lines, f"{trips} round trips between the lowest and the highest temperature"])


def _at(frames: Frames) -> dict:
    return {
        "norm": halves(frames.norm),
        "binder": [binder(part) for part in (frames.s, *np.array_split(frames.s, 2))],
        "replicas": len(set(frames.system)),
        "octants": len({tuple(signs) for signs in frames.s > 0}),
    }


def _plain(run: Path) -> dict:
    frames = read_frames(run)
    chosen = {kelvin: frames.at(kelvin, frames.time_ps.max() / 3) for kelvin in frames.temperatures}
    return {kelvin: halves(part.norm) for kelvin, part in chosen.items()}


def round_trips(frames: Frames) -> int:
    """How often replicas came from the lowest to the highest temperature and back, in all."""
    lowest, highest = frames.temperatures[0], frames.temperatures[-1]
    trips = 0
    for system in set(frames.system):
        kelvin = frames.where(frames.system == system).kelvin
        ends = kelvin[(kelvin == lowest) | (kelvin == highest)]
        trips += np.count_nonzero(np.diff(ends)) // 2
    return int(trips)


def _draw(path: Path, frames: Frames, table: dict, others: dict) -> None:
    with figure(path, 2) as (left, right):
        for system in sorted(set(frames.system))[:3]:
            one = frames.where(frames.system == system)
            left.plot(one.time_ps, one.kelvin, lw=0.5, drawstyle="steps-post")
        left.set(xlabel="time (ps)", ylabel="temperature of three replicas (K)")
        for rows, style, label in (
            ({kelvin: row["norm"] for kelvin, row in table.items()}, "o-", "replica exchange"),
            (others, "s", "without"),
        ):
            if rows:
                whole, first, second = np.array(list(rows.values())).T
                right.errorbar(list(rows), whole, np.abs(first - second) / 2, fmt=style, ms=3, lw=1, label=label)
        right.set(xlabel="T (K)", ylabel=r"$\langle |s| \rangle$ (Å)")
        right.legend(frameon=False)
