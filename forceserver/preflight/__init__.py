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
    inspect_folders,
    inspect_forcefields,
    inspect_tags,
    inspect_vacuum,
    inspect_volume,
    rehearse_input,
)
from .sockets import find_server, inspect_cv_server, inspect_limits, inspect_sockets
from .speed import inspect_speed
from .structures import describe_template, inspect_fixed, inspect_structure

if TYPE_CHECKING:
    from ..configuration import Configuration
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

    findings = []
    try:
        template = read_template(configuration.structure)
        findings.append(Finding(OK, "template", f"{configuration.structure.file.name}: {describe_template(template)}"))
    except InputError as error:
        return [Finding(WRONG, "template", str(error))]
    if configuration.structure.pbc is None and not template.pbc.any() and template.cell.any():
        text = "its file has a cell and says that nothing is periodic; a crystal needs [structure] pbc = true"
        findings.append(Finding(ADVICE, "template", text))
    path = simulation or (configuration.simulation.input if configuration.simulation else None)
    findings.extend(inspect_cv_server(configuration.cv_server) if configuration.cv_server else ())
    if path is None:
        findings.append(Finding(ADVICE, "simulation", f"{config} has no section [simulation]: i-PI's input is unknown"))
        findings.extend(inspect_limits(configuration.driver, template, None))
        return [*findings, *(ask(configuration, template, Path.cwd()).findings if compute else ())]
    try:
        ipi = read_ipi_input(path, configuration.simulation.input.parent if configuration.simulation else None)
    except InputError as error:
        return [*findings, Finding(WRONG, "simulation", str(error))]
    findings.append(Finding(OK, "simulation", _describe_simulation(ipi)))
    if ipi.step >= ipi.total_steps:
        findings.append(Finding(ADVICE, "simulation", "<total_steps> is not above <step>: there is nothing to do"))
    findings.extend(inspect_tags(ipi))
    findings.extend(inspect_folders(ipi))
    findings.extend(inspect_forcefields(ipi))
    rehearsal, said = rehearse_input(ipi)
    findings.extend(said)
    findings.extend(_drivers(config, configuration, drivers, ipi))
    servers = {name: find_server(getattr(configuration, name), ipi) for name in ("socket", "bias_socket")}
    server = servers["socket"]
    findings.extend(inspect_bias(configuration, servers["bias_socket"], ipi, rehearsal))
    findings.extend(inspect_plumed_in_ipi(ipi, rehearsal))
    findings.extend(inspect_limits(configuration.driver, template, server))
    for system in _served_systems(ipi, server):
        findings.extend(inspect_structure(template, system, server))
    answers = ask(configuration, template, ipi.folder) if compute else Answers()
    findings.extend(answers.findings)
    findings.extend(inspect_plumed(configuration, template, ipi) if compute else ())
    if rehearsal is not None:
        if server is None or server.active is None:
            fixed: frozenset[int] = frozenset().union(*(system.fixed for system in rehearsal.systems))
            findings.extend(inspect_fixed(read_structure(configuration.structure.file), fixed))
        findings.extend(inspect_extras(ipi, rehearsal, {n: s for n, s in servers.items() if s}, answers.extras))
        if server is not None and server.active is None:
            findings.extend(inspect_vacuum(template, rehearsal))
        if server is not None and answers.has_virial is False:
            findings.extend(inspect_volume(ipi, rehearsal, server))
    if server is not None:
        findings.extend(inspect_speed(server, ipi, drivers, answers.batches, answers.seconds))
    return findings


def _describe_simulation(ipi: "IpiInput") -> str:
    beads = ", ".join(f"{len(system.species)} atoms x {system.beads} beads" for system in ipi.systems)
    return f"{ipi.path.name}: {beads}; steps {ipi.step} to {ipi.total_steps}"


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
