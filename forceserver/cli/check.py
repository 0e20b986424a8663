"""`forceserver check`: do the configuration, the input of i-PI and the template speak of the same thing?"""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..elements import find_element
from ..errors import InputError
from . import arguments

if TYPE_CHECKING:
    from ..doors.ipi_input import IpiInput, SocketServer, System
    from ..doors.transports import SocketConfig
    from ..frame import Frame
    from ..settings import Settings

DEFAULT_LATENCY_MICROSECONDS = 64
"""What i-PI's default <latency> costs on every step (docs/benchmarks.md)."""

LARGE_ATOMS = 4096
"""From here on the positions and forces of a step weigh more than the messages around them."""


class Verdict(Enum):
    """How a finding is shown."""

    OK = ("ok", "green")
    ADVICE = ("advice", "yellow")
    WRONG = ("wrong", "red")


OK, ADVICE, WRONG = Verdict.OK, Verdict.ADVICE, Verdict.WRONG


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    what: str
    text: str


def check(
    config: arguments.Config,
    drivers: Annotated[int, typer.Option("--drivers", "-n", min=0, help="Drivers that will serve the simulation.")] = 1,
    potential: Annotated[
        bool, typer.Option("--potential", help="Also put the potential through the conformance check.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="With --potential: relative error of derivatives and symmetries that is allowed.")
    ] = 1e-6,
    step: Annotated[
        float | None,
        typer.Option(
            min=1e-6, max=0.1, help="With --potential: step of derivatives, Angstrom.", show_default="from the noise"
        ),
    ] = None,
    verbose: arguments.Verbose = False,
) -> None:
    """Compare the configuration, i-PI's input and the template structure; nothing is started.

    Says what does not fit and what could be faster. Exit code: 0 all fits, 2 something does not.
    """
    from ..settings import load, require
    from .logs import set_up_logging

    set_up_logging(verbose)
    settings = load(config)
    findings = findings_of(config, settings, drivers)
    if potential:
        require(settings.potential, "potential", config, "--potential checks it")
        findings.extend(_conformance(settings, tolerance, step))
    show(findings)
    if any(finding.verdict is WRONG for finding in findings):
        raise typer.Exit(InputError.exit_code)


def findings_of(config: Path, settings: "Settings", drivers: int, simulation: Path | None = None) -> list[Finding]:
    """Everything that can be said without starting anything; `simulation` replaces the input file of the settings."""
    from ..doors.ipi_input import read_ipi_input
    from ..template import read_template

    findings = []
    try:
        template = read_template(settings.structure)
        findings.append(Finding(OK, "template", f"{settings.structure.file.name}: {_describe(template)}"))
    except InputError as error:
        return [Finding(WRONG, "template", str(error))]
    path = simulation or (settings.simulation.input if settings.simulation else None)
    if path is None:
        return [*findings, Finding(ADVICE, "simulation", f"{config} has no section [simulation]: i-PI's input unknown")]
    try:
        ipi = read_ipi_input(path)
    except InputError as error:
        return [*findings, Finding(WRONG, "simulation", str(error))]
    findings.append(Finding(OK, "simulation", _describe_simulation(ipi)))
    server = None
    if ipi.sockets:
        clients = {"socket": settings.socket, "bias_socket": settings.bias_socket}
        findings.extend(_sockets(config, {name: socket for name, socket in clients.items() if socket}, ipi))
        server = _served(settings.socket, ipi)
    elif drivers and not any(tag in ("ffmpi", "ffcavphsocket") for tag, _ in ipi.other_forcefields):
        findings.append(Finding(WRONG, "socket", f"{path} has no <ffsocket>: nothing to drive (launch with -n 0)"))
    for system in ipi.systems:
        findings.extend(_structure(template, system, server))
    if server is not None:
        findings.extend(_speed(server, ipi, drivers))
    return findings


def _describe(template: "Frame") -> str:
    from ase.formula import Formula

    symbols = "".join(_symbols(template))
    periodic = "".join("abc"[i] for i in range(3) if template.pbc[i]) or "no direction"
    return f"{len(template)} atoms, {Formula(symbols).format('hill')}, periodic along {periodic}"


def _describe_simulation(ipi: "IpiInput") -> str:
    beads = ", ".join(f"{len(system.species)} atoms x {system.beads} beads" for system in ipi.systems)
    return f"{ipi.path.name}: {beads}; steps {ipi.step} to {ipi.total_steps}"


def _symbols(template: "Frame") -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[number] for number in template.species]


def _listens(server: "SocketServer") -> str:
    if server.mode == "inet":
        return f"mode='inet' at {server.address}:{server.port}"
    nested = f" (inside '{server.forcefield}', where sockets_prefix does not count)" if server.nested else ""
    return f"mode='{server.mode}' at {server.unix_path}{nested}"


def _fits(socket: "SocketConfig", server: "SocketServer") -> bool:
    if socket.mode != server.mode:
        return False
    if server.mode == "inet":  # the address is that of an interface there and that of a host here
        return socket.port == server.port
    return socket.path == server.unix_path


def _served(socket: "SocketConfig | None", ipi: "IpiInput") -> "SocketServer | None":
    return next((server for server in ipi.sockets if socket is not None and _fits(socket, server)), None)


def _sockets(config: Path, clients: dict[str, "SocketConfig"], ipi: "IpiInput") -> Iterator[Finding]:
    listening = "; ".join(f"<ffsocket name='{server.name}'> {_listens(server)}" for server in ipi.sockets)
    if not clients:
        yield Finding(WRONG, "socket", f"{config} has no section [socket], but i-PI listens: {listening}")
        return
    served = []
    for section, socket in clients.items():
        server = _served(socket, ipi)
        if server is None:
            yield Finding(
                WRONG, "socket", f"[{section}] is mode = '{socket.mode}' at {socket}, but i-PI listens: {listening}"
            )
            continue
        served.append(server)
        yield Finding(OK, "socket", f"[{section}] is <ffsocket name='{server.name}'> {_listens(server)}")
        if server.mode != "inet":
            yield from _unix_name(server.unix_path, ipi.folder)
    others = [server.name for server in ipi.sockets if server not in served]
    if others and served:
        yield Finding(ADVICE, "socket", f"other drivers must serve {', '.join(others)}; this configuration does not")


def _unix_name(path: str, folder: Path) -> Iterator[Finding]:
    from ..doors.transports import SUN_PATH_BYTES

    if (size := len(os.fsencode(path))) > SUN_PATH_BYTES:
        yield Finding(WRONG, "socket", f"the name {path} has {size} bytes; the system takes {SUN_PATH_BYTES}")
    try:
        mode = os.stat(folder / path).st_mode
    except FileNotFoundError:
        return
    what = "a socket" if stat.S_ISSOCK(mode) else "a file that is not a socket"
    yield Finding(
        WRONG,
        "socket",
        f"{path} exists already ({what}): another i-PI uses the name, or a killed one left it; "
        "choose another <address>, or remove it",
    )


def _species(template: "Frame", labels: list[str]) -> Iterator[Finding]:
    """i-PI's labels against the template, by element: an isotope is its element to a potential."""
    symbols = _symbols(template)
    elements = [find_element(label) for label in labels]
    if len(labels) != len(symbols):
        yield Finding(WRONG, "atoms", f"i-PI sends {len(labels)} atoms, the template has {len(symbols)}")
        return
    here = template.species.tolist()
    different = [i for i in range(len(here)) if elements[i] not in (here[i], None)]
    if different:
        first = different[0]
        same = sorted(filter(None, elements)) == sorted(here)
        hint = "same atoms in another order: write the template from i-PI's structure" if same else "other species"
        yield Finding(WRONG, "species", f"atom {first} is {labels[first]} in i-PI, {symbols[first]} here; {hint}")
        return
    yield Finding(OK, "atoms", f"{len(symbols)} atoms, same species in the same order")
    others = {f"{label} is {symbol}" for label, symbol in zip(labels, symbols, strict=True) if label != symbol}
    if others:
        text = "to the potential; masses are i-PI's"
        unknown = any(number is None for number in elements)
        yield Finding(ADVICE if unknown else OK, "labels", f"{', '.join(sorted(others))} {text}")


def _structure(template: "Frame", system: "System", server: "SocketServer | None") -> Iterator[Finding]:
    import numpy as np

    expected = list(system.species)
    if server is not None and server.active is not None:
        expected = [expected[i] for i in server.active if i < len(expected)]
    yield from _species(template, expected)
    if server is not None and server.pbc and not template.pbc.all():
        text = "<ffsocket pbc='True'> folds atoms into the cell, but the template is not periodic in all directions"
        yield Finding(WRONG, "cell", f"{text}: what crosses the edge would be torn apart; write pbc='False'")
    volume = abs(np.linalg.det(system.cell))
    if template.pbc.all() and not volume > 0:
        yield Finding(WRONG, "cell", "the template is periodic, i-PI's structure has no cell")
    elif template.pbc.all() and len(template):
        ratio = volume / abs(np.linalg.det(template.cell))
        if not 0.5 < ratio < 2:
            text = f"i-PI's cell has {ratio:.3g} times the volume of the template's: check cell_units and units"
            yield Finding(WRONG if not 0.1 < ratio < 10 else ADVICE, "cell", text)
        else:
            yield Finding(OK, "cell", f"{volume:.6g} Å³ in i-PI, {ratio:.3g} times the template's")


def _speed(server: "SocketServer", ipi: "IpiInput", drivers: int) -> Iterator[Finding]:
    beads = sum(system.beads for system in ipi.systems if server.forcefield in system.forcefields)
    atoms = max((len(system.species) for system in ipi.systems), default=0)
    if server.latency_seconds > 0:
        yield Finding(
            ADVICE,
            "speed",
            f"<latency> is {server.latency_seconds:g} s: <latency>0</latency> saves about "
            f"{DEFAULT_LATENCY_MICROSECONDS} µs a step",
        )
    if ipi.threading and len(ipi.systems) == 1:
        text = "one system: threading='False' of <simulation> saves a thread that every step is handed to"
        yield Finding(ADVICE, "speed", text)
    if not server.consolidated:
        yield Finding(ADVICE, "speed", "<consolidate_messages> is off: one more round trip per structure")
        if server.batch_size > 1:
            yield Finding(WRONG, "batches", "<batch_size> needs <consolidate_messages> True")
    share = -(-beads // max(drivers, 1))
    if server.batch_size > beads > 0:
        text = f"<batch_size> {server.batch_size} is more than the {beads} structures of a step: the rest is repeated"
        yield Finding(ADVICE, "batches", text)
    elif beads > drivers and server.batch_size < share:
        yield Finding(
            ADVICE,
            "batches",
            f"{beads} structures a step, {drivers} driver(s), batches of {server.batch_size}: "
            f"<batch_size>{share}</batch_size> gives each driver its share at once",
        )
    elif beads and beads % server.batch_size:
        text = f"{beads} structures a step are no multiple of <batch_size> {server.batch_size}: the last is padded"
        yield Finding(ADVICE, "batches", text)
    if beads and drivers * server.batch_size > beads and drivers > 1:
        idle = drivers - -(-beads // server.batch_size)
        if idle > 0:
            yield Finding(ADVICE, "drivers", f"{idle} of {drivers} drivers will have nothing to do")
    if atoms >= LARGE_ATOMS and server.mode == "unix":
        yield Finding(ADVICE, "speed", f"{atoms} atoms: mode='shm' saves the copies through the socket")
    if server.mode == "inet" and server.address in ("localhost", "127.0.0.1"):
        yield Finding(ADVICE, "speed", "mode='inet' on one machine: mode='unix' is faster")


def _conformance(settings: "Settings", tolerance: float, step: float | None) -> Iterator[Finding]:
    from ..potentials import build_potential
    from ..potentials.conformance import check_potential
    from ..template import read_template

    template = read_template(settings.structure)
    potential = build_potential(settings.potential, template)
    try:
        report = check_potential(potential, template, tolerance=tolerance, step=step)
    finally:
        potential.close()
    yield Finding(OK, "potential", f"{report.noise}; step {report.step:.2g} Å")
    for found in report.findings:
        error = "" if found.error is None else f", largest error {found.error:.1e}"
        text = f"{found.name}: {found.failure}" if found.failure else f"{found.name}{error}"
        yield Finding(WRONG if found.failure else OK, "potential", text)


def show(findings: Iterable[Finding]) -> None:
    """The findings as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        word, colour = finding.verdict.value
        table.add_row(Text(word, style=colour), Text(finding.what), Text(finding.text))
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)  # lines for programs are not broken
