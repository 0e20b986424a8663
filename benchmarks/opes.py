"""The embedded OPES: what a step and a kernel cost.

Three variables and the one thousand kernels that are left after merging (widths of 0.2 in a range of 3; barrier 0.3 eV
at 300 K, so a kernel ends at five widths). The values move by a twentieth of a width from step to step. A step is
`advance` and `compute`, with the clock file and without COLVAR. PLUMED has read the same KERNELS and is driven through
its Python wrapper, with EXTRACV. Processor time, the smallest of 15 rounds; nobody waits for the disk.
"""

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from forceserver.bias.config import MetadynamicsConfig
from forceserver.bias.engine import BiasEngine

from .harness import Table, interleave
from .harness.plumed_values import session

NAMES = ("a", "b", "c")
HALF_RANGE, SIGMA, KERNELS = 1.5, 0.2, 1000
NEVER = 10**9
PLUMED = (
    "o: OPES_METAD ARG=a,b,c SIGMA=0.2,0.2,0.2 FIXED_SIGMA BARRIER=28.94559 TEMP=300 RESTART=YES FMT=%.17g "
    "PACE={pace} FILE={folder}/KERNELS {more}"
)


def embedded(folder: Path, pace: int, kernels: Path | None = None) -> BiasEngine:
    """The bias in a new folder; it goes on from a file of kernels."""
    folder.mkdir()
    if kernels:
        shutil.copy(kernels, folder / "KERNELS")
    opes = {"barrier_eV": 0.3, "pace_steps": pace, "temperature_K": 300, "fixed_sigma": True}
    return MetadynamicsConfig(
        engine="opes",
        time_step_fs=1.0,
        variables=[{"name": name, "sigma": SIGMA} for name in NAMES],
        opes={**opes, "file": folder / "KERNELS", "state_file": None},
        clock_file=folder / "BIAS.clock",
        colvar_file=None,
    ).build()


def plumed(folder: Path, pace: int, kernels: Path, more: str = "") -> Callable[[np.ndarray], None]:
    """A step of PLUMED that goes on from a file of kernels."""
    folder.mkdir()
    shutil.copy(kernels, folder / "KERNELS")
    return session(folder, NAMES, [PLUMED.format(pace=pace, folder=folder, more=more)])


def filled(folder: Path) -> Path:
    """A file of kernels, of which `KERNELS` are left after merging."""
    bias, rng = embedded(folder, 1), np.random.default_rng(0)
    while bias.total.growing.density.count < KERNELS:
        bias.advance(rng.uniform(-HALF_RANGE, HALF_RANGE, 3))
    bias.close()
    return folder / "KERNELS"


def moving(step: Callable[[np.ndarray], object]) -> Callable[[], object]:
    """A call of no arguments that goes on along a walk that stays in the range."""
    walk = np.cumsum(np.random.default_rng(1).normal(0, SIGMA / 20, (50000, 3)), axis=0)
    walk = HALF_RANGE - abs((walk + HALF_RANGE) % (4 * HALF_RANGE) - 2 * HALF_RANGE)  # reflected at both ends
    values = itertools.cycle(walk)
    return lambda: step(next(values))


def step_of(bias: BiasEngine) -> Callable[[np.ndarray], None]:
    def step(s: np.ndarray) -> None:
        bias.advance(s)
        bias.compute(s)

    return step


def contenders(folder: Path) -> tuple[dict, str]:
    """Calls by program and case, and what is missing."""
    kernels = filled(folder / "kernels")
    ours = {pace: embedded(folder / f"ours_{pace}", pace, kernels) for pace in (NEVER, 1)}
    gradient = np.empty(3)
    density = ours[NEVER].total.growing.density
    found = {
        ("ours", "step without a kernel"): moving(step_of(ours[NEVER])),
        ("ours", "the sum of the kernels alone"): moving(lambda s: density.evaluate(s, gradient)),
        ("ours", "step with a kernel"): moving(step_of(ours[1])),
    }
    try:
        for name, more in {"PLUMED": "", "NLIST": "NLIST"}.items():
            for case, pace in {"step without a kernel": NEVER, "step with a kernel": 1}.items():
                found[name, case] = moving(plumed(folder / f"{name}_{pace}", pace, kernels, more))
    except (ImportError, RuntimeError) as error:
        return found, f"PLUMED was left out: {error}"
    return found, ""


def costs(quick: bool) -> Table:
    columns = ("case", "forceserver / ms", "goal / ms", "PLUMED / ms", "PLUMED with NLIST / ms")
    table = Table(f"Three variables, {KERNELS} kernels, processor time", columns)
    with tempfile.TemporaryDirectory(prefix="fsbench-") as name, mock.patch.object(os, "fsync", int):
        calls, table.note = contenders(Path(name))
        timings = interleave(calls, 5 if quick else 15, clock=time.process_time)
    goals = {"step without a kernel": 0.05}
    for case in (case for program, case in calls if program == "ours"):
        ours, *theirs = (timings.get((program, case)) for program in ("ours", "PLUMED", "NLIST"))
        peers = (1e3 * timing.best if timing else None for timing in theirs)
        table.rows.append((case, 1e3 * ours.best, goals.get(case), *peers))
    return table


def tables(quick: bool) -> Iterator[Table]:
    """The table of this suite."""
    yield costs(quick)
