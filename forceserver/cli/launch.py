"""`forceserver launch`: starts i-PI and its drivers as one program, which also ends as one."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..launch.progress import tell
from . import arguments

if TYPE_CHECKING:
    from ..configuration import Configuration
    from ..ipi.input import IpiInput
    from ..launch.supervision import Plan
    from ..locks import FolderLock

IPI_RESTARTS = 5
"""How often i-PI is restarted after a broken connection, at most, from one state."""


def launch(
    config: arguments.Config,
    drivers: Annotated[
        int, typer.Option("--drivers", "-n", min=0, help="Drivers to keep running; 0 if i-PI needs none (<ffdirect>).")
    ] = 1,
    restart: Annotated[
        bool, typer.Option("--restart", help="Resume from the newest state among RESTART and the checkpoints.")
    ] = False,
    deadline: Annotated[
        float,
        typer.Option(
            min=1.0,
            metavar="SECONDS",
            help="End everything if there is no driver for this long, not counting the time to load a model.",
        ),
    ] = 60.0,
    attempts: Annotated[
        int,
        typer.Option(min=1, help="Give up after this many driver deaths without a step of the simulation."),
    ] = 20,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="OMP_NUM_THREADS of each driver. [default: as set, else (cores - 1) / drivers]"),
    ] = None,
    logs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for ipi.log, driver-1.log, ...  [default: beside i-PI's input]"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65534,
            help="TCP port of [socket], instead of the one in the configuration and in i-PI's input; "
            "[bias_socket] uses the next.",
        ),
    ] = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Start even if `forceserver check` finds something wrong.")
    ] = False,
) -> None:
    """Run a simulation: start i-PI on its input with drivers, and supervise them to the end.

    i-PI runs in the folder of its input, which is locked during the run. Drivers that die are restarted. Everything
    ends when the simulation ends, on a signal (i-PI then writes its RESTART), or when no driver can be kept running.
    Files of earlier runs are kept: i-PI renames its own, logs are appended to.

    Exit code: 0 the simulation ended normally (all steps done, its time used up, or a file EXIT); 1 i-PI failed;
    2 something in the input is wrong, nothing was started; 3 no driver could be kept running; 4 the potential is too
    uncertain of a structure; 128 + N on signal N.
    """
    raise typer.Exit(run_simulation(config, drivers, restart, deadline, attempts, threads, logs, port, no_check))


def run_simulation(
    config: Path,
    drivers: int,
    restart: bool,
    deadline: float,
    attempts: int,
    threads: int | None,
    logs: Path | None,
    port: int | None,
    no_check: bool,
) -> int:
    """Does the work of `launch`; returns the exit code."""
    from ..configuration import at_address, read_configuration, require
    from ..ipi.input import read_ipi_input
    from ..ipi.ports import at_ports
    from ..launch.sources import Sources
    from ..launch.supervision import ExitCode, Plan
    from ..locks import locked_folder
    from ..processes import signals_noted

    configuration = read_configuration(config)
    sources = Sources(config, configuration)
    path = require(configuration.simulation, "simulation", config, "it names the input file of i-PI").input
    with signals_noted() as signals, locked_folder(path.absolute().parent) as lock:
        simulation = read_ipi_input(path)
        moved = at_address(configuration, None, port, config) if port else configuration
        ports = _ports(configuration, moved, simulation)
        if port and not ports:
            raise InputError(f"--port {port}: no <ffsocket mode='inet'> of {simulation.path} has the port of {config}")
        configuration = moved
        simulation = at_ports(_where_to_begin(simulation, restart, configuration, lock), ports)
        if simulation.step >= simulation.total_steps:
            return _nothing_to_do(simulation, restart)
        if not _can_start(config, configuration, simulation, drivers, no_check):
            return ExitCode.BAD_INPUT
        logs = (logs or simulation.folder).absolute()
        logs.mkdir(parents=True, exist_ok=True)
        _check_writable(simulation.folder, logs / "ipi.log")
        plan = Plan(
            drive=_drive_arguments(config, configuration, simulation, port),
            ports=ports,
            logs=logs,
            drivers=drivers,
            threads=threads,
            deadline_seconds=deadline,
            attempts=attempts,
            evaluation_deadline_seconds=configuration.driver.evaluation_deadline_seconds,
            sources=sources,
            cv_server_first=configuration.cv_server is not None and bool(simulation.plumed),
            served=_served(configuration, simulation),
        )
        if restart:
            _cut_outputs(simulation)
        return _see_through(plan, simulation, configuration, lock, signals)


def _check_writable(folder: Path, log: Path) -> None:
    """Before states of an earlier run, perhaps of another user, are renamed: nothing would be started after that.

    On a full disk a thread of i-PI may die of its log, which then cannot tell it, and i-PI waits for ever.
    """
    from ..files import why_full

    try:
        log.open("ab").close()
    except OSError as error:
        raise InputError(f"{log}: {error.strerror}; nothing was started (--logs chooses another folder)") from error
    for place in (folder, log.parent):
        if why := why_full(place):
            raise InputError(f"nothing can be written to {place} ({why}); nothing was started")


def _served(configuration: "Configuration", simulation: "IpiInput") -> frozenset[str]:
    """Names of the <ffsocket> to which drivers of this configuration connect."""
    from ..preflight.sockets import find_server

    found = (find_server(socket, simulation) for socket in (configuration.socket, configuration.bias_socket))
    return frozenset(server.name for server in found if server is not None)


def _ports(configuration: "Configuration", moved: "Configuration", simulation: "IpiInput") -> dict[str, int]:
    """The ports of i-PI's sockets that this configuration serves, by name; they override those in states.

    moved: the configuration at its new ports.
    """
    pairs = ((configuration.socket, moved.socket), (configuration.bias_socket, moved.bias_socket))
    ports = {old.port: new.port for old, new in pairs if old and new and old.port and new.port}
    servers = (server for server in simulation.sockets if server.mode == "inet" and server.port in ports)
    return {server.name: ports[server.port] for server in servers}


def _where_to_begin(
    simulation: "IpiInput", restart: bool, configuration: "Configuration", lock: "FolderLock"
) -> "IpiInput":
    """The input, or with `restart` the newest state."""
    from ..ipi.addresses import remove_dead_sockets
    from ..ipi.restart import newest_state
    from ..launch.changes import changes

    if lock.after_death:  # and none of its processes is alive
        remove_dead_sockets(simulation)
    if not restart:
        return simulation
    state = newest_state(simulation, tell=tell)
    for change in changes(state, simulation):
        text = f"i-PI reads nothing but {state.path.name} now, so changes belong there"
        tell(f"forceserver: {state.path.name} asks for {change}: {text}")
    _tell_of_bias(state, configuration)
    return state


def _tell_of_bias(state: "IpiInput", configuration: "Configuration") -> None:
    """The first configuration of a simulation is no sign that it went back, so the bias would not either."""
    from ..bias.choice import chosen

    if state.step > 0 or configuration.bias is None:
        return
    with contextlib.suppress(InputError):  # `check` tells it
        if found := chosen(configuration.bias).begun():
            tell(
                f"forceserver: {state.path} is at step 0, but the bias {found}: move its files away, or this counts "
                "as a new run with the old bias"
            )


def _nothing_to_do(simulation: "IpiInput", restart: bool) -> int:
    text = f"{simulation.path}: nothing to do, step {simulation.step} of total_steps {simulation.total_steps}"
    if not restart:
        raise InputError(text)
    tell(f"{text}: the simulation is complete (a larger <total_steps> in that file makes it longer)")
    return 0


def _can_start(
    config: Path, configuration: "Configuration", simulation: "IpiInput", drivers: int, whatever: bool
) -> bool:
    """Shows what is wrong, if anything, and checks every address at which i-PI will listen.

    whatever: start in spite of errors, as far as the addresses allow it.
    """
    from ..ipi.addresses import address_taken
    from ..preflight import WRONG, inspect
    from .check import show as show_findings

    wrong = [
        finding
        for finding in inspect(config, configuration, drivers=drivers, simulation=simulation.path, compute=False)
        if finding.verdict is WRONG
    ]
    if wrong:
        show_findings(wrong)
        tell(f"forceserver: {'started all the same' if whatever else 'nothing was started; --no-check starts it'}")
    if wrong and not whatever:
        return False
    if (stop := simulation.folder / "EXIT").exists():
        raise InputError(f"{stop} would end i-PI at once, and is left from an earlier stop: remove it to go on")
    for server in simulation.sockets:
        if why := address_taken(server, simulation.folder):
            raise InputError(f"<ffsocket name='{server.name}'>: {why}")
    return True


def _drive_arguments(
    config: Path, configuration: "Configuration", simulation: "IpiInput", port: int | None
) -> list[str]:
    """Arguments for drivers on this machine: the address of *this* i-PI, whatever host is configured."""
    from ..ipi.addresses import WILDCARDS

    ports = {
        socket.port for socket in (configuration.socket, configuration.bias_socket) if socket and socket.mode == "inet"
    }
    servers = [server for server in simulation.sockets if server.mode == "inet" and server.port in ports]
    hosts = {"127.0.0.1" if server.address in WILDCARDS else server.address for server in servers}
    host = ["--host", hosts.pop()] if len(hosts) == 1 else []
    return [str(config.absolute()), *host, *(["--port", str(port)] if port else [])]


def _cut_outputs(state: "IpiInput") -> None:
    from ..ipi.outputs import cut_outputs

    for text in cut_outputs(state):
        tell(f"forceserver: {text}")


def _see_through(
    plan: "Plan", simulation: "IpiInput", configuration: "Configuration", lock: "FolderLock", signals: list[int]
) -> int:
    """Runs i-PI to its end, resuming from its newest state after a broken connection; returns the exit code."""
    from ..ipi.addresses import remove_dead_sockets
    from ..ipi.outputs import make_room_for_backups
    from ..ipi.ports import at_ports
    from ..ipi.restart import newest_state, set_states_aside
    from ..launch.supervision import ExitCode, Supervisor

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
            simulation = at_ports(newest_state(simulation, tell=tell), plan.ports)
        except InputError as error:
            tell(f"forceserver: {error}")
            return code
        restarts = restarts + 1 if simulation.step == began else 1
        if restarts > IPI_RESTARTS:
            return code
        _tell_of_bias(simulation, configuration)
        _cut_outputs(simulation)
        tell(
            f"forceserver: a broken connection has stopped i-PI (a client that closed without reading, usually "
            f"not a driver); continuing from {simulation.path.name}, step {simulation.step} "
            f"(restart {restarts} of at most {IPI_RESTARTS} without progress)"
        )
