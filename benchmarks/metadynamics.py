"""The embedded metadynamics: what a step and a hill cost.

Three variables, a grid of 50 x 50 x 50 intervals, hills of sigma = 3 intervals, bias factor 10; every call has new
values. A step is `advance` and `compute`, with the clock file and without COLVAR. "On disk" waits for the disk after
each hill (fsync), as the server does; "c(t)" also computes the reweighting factor. PLUMED is called through its Python
wrapper, with EXTRACV on the same grid, and does not wait for the disk.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from forceserver.bias.config import MetadynamicsConfig
from forceserver.bias.engine import BiasEngine

from .harness import Table, interleave
from .harness.plumed_values import session

NAMES = ("a", "b", "c")
HALF_RANGE, BINS = 2.5, 50
SIGMA = 3 * 2 * HALF_RANGE / BINS
NEVER = 10**9


def embedded(folder: Path, pace: int, grid: str = "fixed") -> BiasEngine:
    folder.mkdir()
    axis = {"sigma": SIGMA, "lower": -HALF_RANGE, "upper": HALF_RANGE, "bins": BINS}
    hills = {"height_eV": 0.01, "pace_steps": pace, "temperature_K": 300, "bias_factor": 10}
    return MetadynamicsConfig(
        engine="metadynamics",
        time_step_fs=1.0,
        variables=[{"name": name, **axis} for name in NAMES],
        hills={**hills, "grid": grid, "file": folder / "HILLS"},
        clock_file=folder / "BIAS.clock",
        colvar_file=None,
    ).build()


def plumed_session(folder: Path, pace: int, more: str = "") -> Callable[[np.ndarray], None]:
    """A step of PLUMED with the given values."""
    low, high, bins, sigma = (",".join([str(x)] * 3) for x in (-HALF_RANGE, HALF_RANGE, BINS, SIGMA))
    metad = (
        f"METAD ARG=a,b,c SIGMA={sigma} HEIGHT=1 PACE={pace} BIASFACTOR=10 FILE={folder}/HILLS "
        f"GRID_MIN={low} GRID_MAX={high} GRID_BIN={bins} {more}"
    )
    return session(folder, NAMES, [metad])


def moving(step: Callable[[np.ndarray], object]) -> Callable[[], object]:
    """A call of no arguments that goes to new values each time."""
    rng = np.random.default_rng(0)
    return lambda: step(rng.uniform(-1.5, 1.5, 3))


def step_of(bias: BiasEngine, with_factor: bool = False) -> Callable[[np.ndarray], None]:
    def step(s: np.ndarray) -> None:
        bias.advance(s)
        bias.compute(s)
        if with_factor:
            bias.terms(s)

    return step


def without_waiting(call: Callable[[], object]) -> Callable[[], object]:
    def quick() -> None:
        with mock.patch.object(os, "fsync", return_value=None):
            call()

    return quick


def costs(quick: bool) -> Table:
    table = Table("Three variables, 50^3 grid", ("case", "forceserver / ms", "PLUMED / ms", "goal / ms"))
    rounds = 5 if quick else 15
    with tempfile.TemporaryDirectory(prefix="fsbench-") as name:
        folder = Path(name)
        ours = {
            "step without a hill": moving(step_of(embedded(folder / "1", NEVER))),
            "step with a hill": without_waiting(moving(step_of(embedded(folder / "2", 1)))),
            "step with a hill and c(t)": without_waiting(moving(step_of(embedded(folder / "3", 1), True))),
            "step with a hill, on disk": moving(step_of(embedded(folder / "4", 1))),
        }
        exact = embedded(folder / "5", 1, "none")
        fill, steps = moving(step_of(exact)), 1001
        for _ in range(steps):
            without_waiting(fill)()
        ours["1000 hills one by one, no grid"] = moving(exact.compute)
        peers = {}
        try:
            peers = {
                "step without a hill": moving(plumed_session(folder / "p1", NEVER)),
                "step with a hill": moving(plumed_session(folder / "p2", 1)),
                "step with a hill and c(t)": moving(plumed_session(folder / "p3", 1, "CALC_RCT")),
            }
        except (ImportError, RuntimeError) as error:
            table.note = f"PLUMED was left out: {error}"
        contenders = {("ours", case): call for case, call in ours.items()}
        contenders |= {("peer", case): call for case, call in peers.items()}
        timings = interleave(contenders, rounds)
    goals = {"step without a hill": 0.05, "step with a hill": 2.0, "step with a hill and c(t)": 2.0}
    for case in ours:
        peer = timings.get(("peer", case))
        table.rows.append(
            (case, 1e3 * timings["ours", case].median, 1e3 * peer.median if peer else None, goals.get(case))
        )
    return table


def tables(quick: bool) -> Iterator[Table]:
    """The table of this suite."""
    yield costs(quick)
