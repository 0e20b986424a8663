"""A simulation to its end: i-PI is restarted from a state when a broken connection has stopped it."""

from typing import TYPE_CHECKING

from ..errors import InputError
from ..ipi.addresses import remove_dead_sockets
from ..ipi.input import IpiInput
from ..ipi.outputs import cut_outputs, make_room_for_backups
from ..ipi.ports import at_ports
from ..ipi.restart import set_states_aside, state_to_continue_from
from ..locks import FolderLock
from .display import tell
from .plan import ExitCode, Plan
from .start import tell_of_bias
from .supervision import Supervisor

if TYPE_CHECKING:
    from ..configuration import Configuration

IPI_RESTARTS = 5
"""How often i-PI is restarted after a broken connection, at most, from one state."""


def see_through(
    plan: Plan, simulation: IpiInput, configuration: "Configuration", lock: FolderLock, signals: list[int]
) -> int:
    """Runs i-PI to its end, resuming after a broken connection; returns the exit code."""
    if simulation.step == 0:
        set_states_aside(simulation)
    make_room_for_backups(simulation)
    restarts = 0
    while True:
        supervisor = Supervisor(plan, simulation, lock)
        try:
            code = supervisor.watch(signals)
        finally:
            remove_dead_sockets(simulation)  # a killed i-PI leaves them behind
        if not supervisor.broken or code != ExitCode.FAILED:
            return code
        began = simulation.step
        try:
            simulation = at_ports(state_to_continue_from(simulation, tell=tell), plan.ports)
        except InputError as error:
            tell(f"forceserver: {error}")
            return code
        restarts = restarts + 1 if simulation.step == began else 1
        if restarts > IPI_RESTARTS:
            return code
        tell_of_bias(simulation, configuration)
        tell_cut_outputs(simulation)
        tell(
            f"forceserver: a broken connection has stopped i-PI (a client that closed without reading, usually "
            f"not a driver); continuing from {simulation.path.name}, step {simulation.step} "
            f"(restart {restarts} of at most {IPI_RESTARTS} without progress)"
        )


def tell_cut_outputs(state: IpiInput) -> None:
    """Takes out of the outputs what came after this state, and says what."""

    for text in cut_outputs(state):
        tell(f"forceserver: {text}")
