"""What can be known before anything starts: what does not match, and what could be faster.

Each file examines one thing and yields findings; this one calls them in turn.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..structures import read_structure
from .answers import Answers, ask
from .bias import inspect_bias
from .extras import inspect_extras
from .findings import ADVICE, OK, WRONG, Finding, Verdict
from .plumed import inspect_plumed, inspect_plumed_in_ipi
from .rehearsal import (
    inspect_float_format,
    inspect_folders,
    inspect_forcefields,
    inspect_tags,
    inspect_vacuum,
    inspect_volume,
    rehearse_input,
)
from .sockets import find_server, inspect_cv_server, inspect_limits, inspect_sockets
from .speed import inspect_deadline, inspect_speed
from .structures import describe_template, inspect_fixed, inspect_structure

if TYPE_CHECKING:
    from ..configuration import Configuration
    from ..frame import Frame
    from ..ipi.input import IpiInput, SocketServer, System

__all__ = ["ADVICE", "OK", "WRONG", "Finding", "Verdict", "inspect"]

DRIVEN_OTHERWISE = ("ffmpi", "ffcavphsocket")
"""Force fields with drivers, but without an <ffsocket>."""


def inspect(
    config: Path, configuration: "Configuration", drivers: int, simulation: Path | None = None, compute: bool = True
) -> list[Finding]:
    """Everything that can be said without starting anything.

    simulation: replaces the input file of the configuration. compute: whether the potential, the variables and the bias
    are computed for the template.
    """
    from ..ipi.input import read_ipi_input
    from ..template_structure import read_template

    try:
        template = read_template(configuration.structure)
    except InputError as error:
        return [Finding(WRONG, "template", str(error))]
    findings = [*_template(template, configuration)]
    findings.extend(inspect_cv_server(configuration.cv_server) if configuration.cv_server else ())
    path = simulation or (configuration.simulation.input if configuration.simulation else None)
    if path is None:
        findings.append(Finding(ADVICE, "simulation", f"{config} has no section [simulation]: i-PI's input is unknown"))
        findings.extend(inspect_limits(configuration.driver, template, None))
        return [*findings, *(ask(configuration, template, Path.cwd()).findings if compute else ())]
    try:
        ipi = read_ipi_input(path, configuration.simulation.input.parent if configuration.simulation else None)
    except InputError as error:
        return [*findings, Finding(WRONG, "simulation", str(error))]
    return [*findings, *_input(ipi), *_simulation(config, configuration, drivers, template, ipi, compute)]


def _template(template: "Frame", configuration: "Configuration") -> Iterator[Finding]:
    yield Finding(OK, "template", f"{configuration.structure.file.name}: {describe_template(template)}")
    if configuration.structure.pbc is None and not template.pbc.any() and template.cell.any():
        text = "its file has a cell and says that nothing is periodic; a crystal needs [structure] pbc = true"
        yield Finding(ADVICE, "template", text)


def _input(ipi: "IpiInput") -> Iterator[Finding]:
    """What is said of i-PI's input alone, before i-PI has understood it."""
    beads = ", ".join(f"{len(system.species)} atoms x {system.beads} beads" for system in ipi.systems)
    yield Finding(OK, "simulation", f"{ipi.path.name}: {beads}; steps {ipi.step} to {ipi.total_steps}")
    if ipi.step >= ipi.total_steps:
        yield Finding(ADVICE, "simulation", "<total_steps> is not above <step>: there is nothing to do")
    yield from inspect_tags(ipi)
    yield from inspect_folders(ipi)
    yield from inspect_float_format(ipi)
    yield from inspect_forcefields(ipi)


def _simulation(
    config: Path, configuration: "Configuration", drivers: int, template: "Frame", ipi: "IpiInput", compute: bool
) -> Iterator[Finding]:
    """What the configuration and i-PI's input say of each other."""
    rehearsal, said = rehearse_input(ipi)
    yield from said
    yield from _drivers(config, configuration, drivers, ipi)
    found = ((name, find_server(getattr(configuration, name), ipi)) for name in ("socket", "bias_socket"))
    servers = {name: server for name, server in found if server}
    server = servers.get("socket")
    yield from inspect_bias(configuration, servers.get("bias_socket"), ipi, rehearsal)
    yield from inspect_plumed_in_ipi(ipi, rehearsal)
    yield from inspect_limits(configuration.driver, template, server)
    for system in _served_systems(ipi, server):
        yield from inspect_structure(template, system, server)
    answers = ask(configuration, template, ipi.folder) if compute else Answers()
    yield from answers.findings
    yield from inspect_deadline(configuration.driver, answers.seconds)
    if compute:
        yield from inspect_plumed(configuration, template, ipi)
    if rehearsal is not None:
        if server is None or server.active is None:
            fixed: frozenset[int] = frozenset().union(*(system.fixed for system in rehearsal.systems))
            yield from inspect_fixed(read_structure(configuration.structure.file), fixed)
        yield from inspect_extras(ipi, rehearsal, servers, answers.extras)
        if server is not None and server.active is None:
            yield from inspect_vacuum(template, rehearsal)
        if server is not None and answers.has_virial is False:
            yield from inspect_volume(ipi, rehearsal, server)
    if server is not None:
        yield from inspect_speed(server, ipi, drivers, answers.batches, answers.seconds)


def _drivers(config: Path, configuration: "Configuration", drivers: int, ipi: "IpiInput") -> Iterator[Finding]:
    if ipi.sockets:
        clients = {"socket": configuration.socket, "bias_socket": configuration.bias_socket}
        yield from inspect_sockets(config, {name: socket for name, socket in clients.items() if socket}, ipi)
    elif drivers and not any(tag in DRIVEN_OTHERWISE for tag, _ in ipi.other_forcefields):
        text = f"{ipi.path} has no <ffsocket>: nothing to drive (launch with -n 0)"
        yield Finding(WRONG, "socket", text)


def _served_systems(ipi: "IpiInput", server: "SocketServer | None") -> "list[System]":
    """The systems whose atoms must match the template: those that use our socket, if there is one."""
    if server is None:
        return [] if ipi.sockets else list(ipi.systems)
    return [system for system in ipi.systems if system.beads_of(server.forcefield)]
