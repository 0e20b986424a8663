"""How i-PI goes on after an end of any kind: from its newest complete state, with outputs that end there.

i-PI writes RESTART when it is asked to end, and checkpoints as its input says (<checkpoint>); a file that it was
killed in the middle of is not complete. On a restart it appends to its outputs, also to what a killed run has written
after the checkpoint: these steps come again, so they are cut off here.
"""

import contextlib
import itertools
import os
import re
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
    states = []
    for path in state_files(simulation):
        with contextlib.suppress(InputError):
            states.append(read_ipi_input(path))
    if not states:
        names = ", ".join(["RESTART", *(path.name for path in simulation.checkpoints)])
        raise InputError(f"there is nothing to go on from in {simulation.folder}: no complete file of {names}")
    return max(states, key=lambda state: state.step)


def state_files(simulation: IpiInput) -> list[Path]:
    """Files with states that are there: RESTART and checkpoints, also numbered ones (overwrite='False')."""
    names = [simulation.folder / "RESTART", *simulation.checkpoints]
    numbered = (path for name in simulation.checkpoints for path in name.parent.glob(f"{name.name}_*"))
    return [
        path
        for path in [*names, *sorted(numbered)]
        if path.is_file() and (path in names or path.name.rpartition("_")[2].isdigit())
    ]


def set_states_aside(simulation: IpiInput) -> None:
    """Renames the states of earlier runs, as i-PI does when it writes others: none may be taken for this run's."""
    for path in state_files(simulation):
        if path.resolve() != simulation.path.resolve():
            numbers = itertools.count()
            while (aside := path.with_name(f"#{path.name}#{next(numbers)}#")).exists():
                pass
            path.rename(aside)


def cut_outputs(state: IpiInput) -> None:
    """Takes from properties and trajectories what was written after the step of `state`.

    Properties files without a column `step` stay as they are. A state of step 0 has no outputs: i-PI begins new ones.
    """
    if state.step == 0:
        return
    for properties in state.properties:
        if properties.path.is_file():
            _truncate(properties.path, _end_of_rows(properties, state.step))
    for stem in state.trajectories:
        for path in stem.parent.glob(f"{stem.name}*"):
            if path.is_file():
                _truncate(path, _end_of_frames(path, state.step))


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
