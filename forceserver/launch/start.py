"""Where a simulation begins, and whether it can: nothing is started or changed before everything is known."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..bias.choice import chosen
from ..errors import InputError
from ..files import why_full
from ..ipi.addresses import address_taken, remove_dead_sockets
from ..ipi.input import IpiInput
from ..ipi.restart import state_to_continue_from
from ..locks import FolderLock
from .changes import changes
from .display import tell

if TYPE_CHECKING:
    from ..configuration import Configuration


def where_to_begin(simulation: IpiInput, restart: bool, configuration: "Configuration", lock: FolderLock) -> IpiInput:
    """The input, or with `restart` the newest state with complete outputs."""
    if lock.after_death:  # and none of its processes is alive
        remove_dead_sockets(simulation)
    if not restart:
        return simulation
    state = state_to_continue_from(simulation, tell=tell)
    for change in changes(state, simulation):
        text = f"i-PI reads nothing but {state.path.name} now, so changes belong there"
        tell(f"forceserver: {state.path.name} asks for {change}: {text}")
    tell_of_bias(state, configuration)
    return state


def tell_of_bias(state: IpiInput, configuration: "Configuration") -> None:
    """The first configuration of a simulation is no sign that it went back, so the bias would not either."""
    if state.step > 0 or configuration.bias is None:
        return
    with contextlib.suppress(InputError):  # `check` tells it
        if found := chosen(configuration.bias).begun():
            tell(
                f"forceserver: {state.path} is at step 0, but the bias {found}: move its files away, or this counts "
                "as a new run with the old bias"
            )


def check_writable(folder: Path, log: Path) -> None:
    """Before states of an earlier run, perhaps of another user, are renamed: nothing would be started after that.

    On a full disk a thread of i-PI may die of its log, which then cannot tell it, and i-PI waits for ever.
    """
    try:
        log.open("ab").close()
    except OSError as error:
        raise InputError(f"{log}: {error.strerror}; nothing was started (--logs chooses another folder)") from error
    for place in (folder, log.parent):
        if why := why_full(place):
            raise InputError(f"nothing can be written to {place} ({why}); nothing was started")


def check_stop(simulation: IpiInput) -> None:
    """Raises `InputError` for a file that would end i-PI at once."""
    if why := simulation.told_to_stop():
        raise InputError(why)


def check_addresses(simulation: IpiInput) -> None:
    """Raises `InputError` where i-PI could not listen."""
    for server in simulation.sockets:
        if why := address_taken(server, simulation.folder):
            raise InputError(f"<ffsocket name='{server.name}'>: {why}")
