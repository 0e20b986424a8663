"""Where i-PI continues after any kind of end: from its newest complete state.

i-PI writes RESTART when it is asked to end, and checkpoints as its input says (<checkpoint>); a file that it was
writing when it was killed is incomplete. Its outputs then reach beyond the state: see outputs.py.
"""

import contextlib
import itertools
from pathlib import Path

from ..errors import InputError
from .input import IpiInput, read_ipi_input


def newest_state(simulation: IpiInput) -> IpiInput:
    """The latest state of a simulation, from RESTART or a checkpoint.

    Raises `InputError` if there is no complete one.
    """
    states = []
    for path in state_files(simulation):
        with contextlib.suppress(InputError):
            states.append(read_ipi_input(path))
    if not states:
        names = ", ".join(["RESTART", *(path.name for path in simulation.checkpoints)])
        raise InputError(f"there is nothing to continue from in {simulation.folder}: no complete file among {names}")
    return max(states, key=lambda state: state.step)


def state_files(simulation: IpiInput) -> list[Path]:
    """Existing files with states: RESTART and checkpoints, also numbered ones (overwrite='False')."""
    names = [simulation.folder / "RESTART", *simulation.checkpoints]
    numbered = (path for name in simulation.checkpoints for path in name.parent.glob(f"{name.name}_*"))
    digits = (path for path in sorted(numbered) if path.name.rpartition("_")[2].isdigit())
    return [path for path in dict.fromkeys([*names, *digits]) if path.is_file()]


def set_states_aside(simulation: IpiInput) -> None:
    """Renames the states of earlier runs, as i-PI does, so that none is mistaken for a state of this run."""
    for path in state_files(simulation):
        if path.resolve() != simulation.path.resolve():
            numbers = itertools.count()
            while (aside := path.with_name(f"#{path.name}#{next(numbers)}#")).exists():
                pass
            path.rename(aside)
