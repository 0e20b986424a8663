"""How i-PI goes on after an end of any kind: from its newest complete state.

i-PI writes RESTART when it is asked to end, and checkpoints as its input says (<checkpoint>); a file that it was
killed in the middle of is not complete. Its outputs are then longer than the state: see ipi_outputs.py.
"""

import contextlib
import itertools
from pathlib import Path

from ..errors import InputError
from .input import IpiInput, read_ipi_input


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
    digits = (path for path in sorted(numbered) if path.name.rpartition("_")[2].isdigit())
    return [path for path in dict.fromkeys([*names, *digits]) if path.is_file()]


def set_states_aside(simulation: IpiInput) -> None:
    """Renames the states of earlier runs, as i-PI does when it writes others: none may be taken for this run's."""
    for path in state_files(simulation):
        if path.resolve() != simulation.path.resolve():
            numbers = itertools.count()
            while (aside := path.with_name(f"#{path.name}#{next(numbers)}#")).exists():
                pass
            path.rename(aside)
