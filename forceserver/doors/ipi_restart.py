"""How i-PI goes on after an end of any kind: from its newest complete state, with outputs that end there.

i-PI writes RESTART when it is asked to end, and checkpoints as its input says (<checkpoint>); a file that it was
killed in the middle of is not complete. On a restart it appends to its outputs, also to what a killed run has written
after the checkpoint: these steps come again, so they are cut off here.
"""

import contextlib
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from .ipi_input import IpiInput, PropertiesFile, read_ipi_input

STEP = re.compile(rb"\bStep:\s+(\d+)\s")
"""In the comment of every frame of a trajectory: the steps that were done."""


def newest_state(simulation: IpiInput) -> IpiInput:
    """The state of a simulation after the most steps, from RESTART or a checkpoint.

    Raises `InputError` if there is none that is complete.
    """
    files = [simulation.folder / "RESTART", *simulation.checkpoints]
    states = []
    for path in (path for path in files if path.is_file()):
        with contextlib.suppress(InputError):
            states.append(read_ipi_input(path))
    if not states:
        names = ", ".join(path.name for path in files)
        raise InputError(f"there is nothing to go on from in {simulation.folder}: no complete file of {names}")
    return max(states, key=lambda state: state.step)


def cut_outputs(state: IpiInput) -> None:
    """Takes from properties and trajectories what was written after the step of `state`.

    Properties files without a column `step` stay as they are.
    """
    for properties in state.properties:
        if properties.path.is_file():
            _truncate(properties.path, _end_of_rows(properties, state.step))
    for stem in state.trajectories:
        for path in stem.parent.glob(f"{stem.name}*"):
            if path.is_file():
                _truncate(path, _end_of_frames(path, state.step))


def remove_dead_sockets(state: IpiInput) -> None:
    """Removes the names of unix sockets that a killed i-PI has left: those at which nobody listens."""
    for server in state.sockets:
        path = state.folder / server.unix_path
        if server.mode == "inet" or not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(min(str(path), os.path.relpath(path), key=len))  # names have at most 107 characters
            except ConnectionRefusedError:
                path.unlink()


def _truncate(path: Path, size: int) -> None:
    if size < path.stat().st_size:
        os.truncate(path, size)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines and where they begin."""
    begin = 0
    with open(path, "rb") as file:
        for line in file:
            yield begin, line
            begin += len(line)


def _end_of_rows(properties: PropertiesFile, step: int) -> int:
    if "step" not in properties.columns:
        return properties.path.stat().st_size
    column = properties.columns.index("step")
    for begin, line in _lines(properties.path):
        comment = line.startswith(b"#")
        if not line.endswith(b"\n") or (not comment and round(float(line.split()[column])) > step):
            return begin
    return properties.path.stat().st_size


def _end_of_frames(path: Path, step: int) -> int:
    """Where the first frame after `step` begins; it may be the number of atoms alone, or half a comment."""
    size = path.stat().st_size
    count = None  # where the line before began, if it was a number of atoms
    framed = False
    for begin, line in _lines(path):
        found = STEP.search(line)
        framed = framed or bool(found)
        if found and int(found[1]) > step:
            return begin if count is None else count
        if not line.endswith(b"\n") and count is not None:
            return count
        count = begin if framed and line.strip().isdigit() else None
    return size if count is None else count
