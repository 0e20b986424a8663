"""Clients of i-PI's protocol as potentials: what `kind = "socket"` adds to the client's own time.

The C echo and i-PI's Python driver (its potential `dummy`) over a unix socket, microseconds per structure. "Asked in C"
is a loop that sends what i-PI sends and measures the time from POSDATA to the answer to STATUS; "`kind = "socket"`" is
a call of the potential with a structure that has moved. They take turns, block by block; medians over rounds of each
block's median, in brackets the smallest. Both ends are bound to one core or to two, because where the kernel puts them
matters more than anything else.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from forceserver.frame import Frame
from forceserver.potentials.socket import SocketPotential, SocketPotentialConfig

from .clients.stopwatch import blocks
from .clients.zoo import LIMIT, Address, Command, available
from .harness import Table
from .harness.compiled import programs

SOURCES = Path(__file__).parent / "clients"
ATOMS = (8, 64, 512, 4096)
CLIENTS = (LIMIT, "i-PI Python driver")
EVALUATIONS = 500
"""Of a block."""
GOAL = 60.0
"""Microseconds beside the client's own time."""


def structure(atoms: int) -> Frame:
    rng = np.random.default_rng(0)
    return Frame(10 * rng.random((atoms, 3)), 10 * np.eye(3), np.full(atoms, 14, np.int32))


def bound_to(core: int, command: Command) -> Command:
    """The same client on this core only."""
    return lambda at: ["taskset", "-c", str(core), *(command(at) or [])]


def potential(command: Command, frame: Frame, folder: str) -> SocketPotential:
    """The client as a potential of ours."""
    place = f"fsclients_{os.getpid()}"
    words = command(Address("unix", place, len(frame)))
    section = {"kind": "socket", "socket": {"address": place}, "command": words, "folder": folder}
    return SocketPotentialConfig.model_validate(section).build(frame)


def block(asked: SocketPotential, frame: Frame) -> tuple[float, float]:
    """Median and smallest time of a call, microseconds."""
    steps = 1e-3 * np.random.default_rng(1).normal(size=(2, *frame.positions.shape))
    times = []
    for k in range(EVALUATIONS):
        frame.positions += steps[k % 2]
        begun = time.perf_counter()
        asked.compute_one(frame)
        times.append(1e6 * (time.perf_counter() - begun))
    return statistics.median(times), min(times)


def measure(stopwatch: Path, command: Command, atoms: int, rounds: int) -> tuple[list, list]:
    """Medians and smallest times of all blocks: asked in C, and by us."""
    frame, bare, ours = structure(atoms), [], []
    with (
        tempfile.TemporaryDirectory(prefix="fsclients-") as folder,
        closing(potential(command, frame, folder)) as asked,
    ):
        asked.compute_one(frame)
        for _ in range(rounds):
            (turn,) = blocks(stopwatch, {"client": command}, Address("unix", "", atoms), 1, EVALUATIONS)
            bare.append((turn.median, turn.best))
            ours.append(block(asked, frame))
    return bare, ours


def row(name: str, bare: list, ours: list) -> list:
    """One client with one number of atoms."""
    medians = [statistics.median(median for median, _ in turns) for turns in (bare, ours)]
    bests = [min(best for _, best in turns) for turns in (bare, ours)]
    cells = [f"{median:.1f} ({best:.1f})" for median, best in zip(medians, bests, strict=True)]
    return [name, *cells, f"{medians[1] - medians[0]:.1f}", f"{GOAL:g}"]


def tables(quick: bool) -> Iterator[Table]:
    cores = sorted(os.sched_getaffinity(0))
    sizes, rounds = (ATOMS[1:2], 3) if quick else (ATOMS, 5)
    with programs(SOURCES / "stopwatch.c", SOURCES / "echo.c") as (stopwatch, echo):
        commands = {name: command for name, command in available(echo)[0].items() if name in CLIENTS}
        os.sched_setaffinity(0, cores[:1])
        try:
            for core, where in ((cores[0], "one core"), (cores[-1], "a core each")):
                rows = [
                    row(f"{name}, {atoms} atoms", *measure(stopwatch, bound_to(core, command), atoms, rounds))
                    for name, command in commands.items()
                    for atoms in sizes
                ]
                yield Table(
                    f"Microseconds per structure, {where}",
                    ["", "asked in C", '`kind = "socket"`', "added", "goal"],
                    rows,
                )
        finally:
            os.sched_setaffinity(0, cores)
