"""Where i-PI continues after any kind of end: from its newest complete state.

i-PI writes RESTART when it is asked to end, and checkpoints as its input says (<checkpoint>); a file that it was
writing when it was killed is incomplete. Its outputs then reach beyond the state (see outputs.py), or not as far: what
it had not flushed is lost, and a signal that comes while it computes an output ends it without the row, but with the
state.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .input import IpiInput, read_ipi_input
from .outputs import gaps


def newest_state(simulation: IpiInput, tell: Callable[[str], None] = lambda text: None) -> IpiInput:
    """The latest state of a simulation, from RESTART or a checkpoint.

    tell: hears of files that cannot be read, as one that a killed i-PI has left, or a user has edited.

    Raises `InputError` if there is no complete one.
    """
    return _states(simulation, tell)[0]


def state_to_continue_from(simulation: IpiInput, tell: Callable[[str], None] = lambda text: None) -> IpiInput:
    """The latest state up to which the outputs are complete, if it is at most one checkpoint before the newest.

    Otherwise, and of a simulation that has reached its end, the newest one. tell, errors: as in `newest_state`.
    """
    newest, *older = _states(simulation, tell)
    if newest.step >= newest.total_steps or not (lacking := gaps(newest)):
        return newest
    for state in older:
        if newest.step - state.step <= newest.checkpoint_stride and state.step > 0 and not gaps(state):
            tell(
                f"forceserver: {lacking[0]}; continuing from {state.path.name}, step {state.step}, after which it is "
                "computed again"
            )
            return state
    return newest


def _states(simulation: IpiInput, tell: Callable[[str], None]) -> list[IpiInput]:
    """All complete states, the newest first; at least one."""
    states, bad = [], []
    for path in state_files(simulation):
        try:
            states.append(read_ipi_input(path, simulation.folder))
        except InputError as error:
            bad.append(str(error))
    if not states:
        names = ", ".join(["RESTART", *(path.name for path in simulation.checkpoints)])
        text = f"there is nothing to continue from in {simulation.folder}: no complete file among {names}"
        raise InputError("; ".join([text, *bad]))
    states.sort(key=lambda state: -state.step)
    for text in bad:
        tell(f"forceserver: {text}; the newest complete state is {states[0].path.name}, step {states[0].step}")
    return states


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
