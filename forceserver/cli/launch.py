"""`forceserver launch`: starts i-PI and its drivers as one program, which also ends as one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..launch.display import tell
from . import arguments

if TYPE_CHECKING:
    from ..configuration import Configuration
    from ..ipi.input import IpiInput


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
    from ..launch.plan import ExitCode, Plan
    from ..launch.resuming import see_through, tell_cut_outputs
    from ..launch.serving import drive_arguments, ports_by_name, served
    from ..launch.sources import Sources
    from ..launch.start import check_addresses, check_stop, check_writable, where_to_begin
    from ..locks import locked_folder
    from ..processes import signals_noted

    configuration = read_configuration(config)
    sources = Sources(config, configuration)
    path = require(configuration.simulation, "simulation", config, "it names the input file of i-PI").input
    with signals_noted() as signals, locked_folder(path.absolute().parent) as lock:
        simulation = read_ipi_input(path)
        moved = at_address(configuration, None, port, config) if port else configuration
        ports = ports_by_name(configuration, moved, simulation)
        if port and not ports:
            raise InputError(f"--port {port}: no <ffsocket mode='inet'> of {simulation.path} has the port of {config}")
        configuration = moved
        simulation = at_ports(where_to_begin(simulation, restart, configuration, lock), ports)
        if simulation.step >= simulation.total_steps:
            return _nothing_to_do(simulation, restart)
        check_stop(simulation)
        if not _agrees(config, configuration, simulation, drivers, whatever=no_check):
            return ExitCode.BAD_INPUT
        check_addresses(simulation)
        logs = (logs or simulation.folder).absolute()
        logs.mkdir(parents=True, exist_ok=True)
        check_writable(simulation.folder, logs / "ipi.log")
        plan = Plan(
            drive=drive_arguments(config, configuration, simulation, port),
            ports=ports,
            logs=logs,
            drivers=drivers,
            threads=threads,
            deadline_seconds=deadline,
            attempts=attempts,
            evaluation_deadline_seconds=configuration.driver.evaluation_deadline_seconds,
            sources=sources,
            cv_server_first=configuration.cv_server is not None and bool(simulation.plumed),
            served=served(configuration, simulation),
        )
        if restart:
            tell_cut_outputs(simulation)
        return see_through(plan, simulation, configuration, lock, signals)


def _nothing_to_do(simulation: "IpiInput", restart: bool) -> int:
    text = f"{simulation.path}: nothing to do, step {simulation.step} of total_steps {simulation.total_steps}"
    if not restart:
        raise InputError(text)
    tell(f"{text}: the simulation is complete (a larger <total_steps> in that file makes it longer)")
    return 0


def _agrees(config: Path, configuration: "Configuration", simulation: "IpiInput", drivers: int, whatever: bool) -> bool:
    """Shows what `check` finds wrong, if anything; with `whatever`, it is only shown."""
    from ..preflight import WRONG, inspect
    from .check import show

    findings = inspect(config, configuration, drivers=drivers, simulation=simulation.path, compute=False)
    wrong = [finding for finding in findings if finding.verdict is WRONG]
    if wrong:
        show(wrong)
        tell(f"forceserver: {'started all the same' if whatever else 'nothing was started; --no-check starts it'}")
    return whatever or not wrong
