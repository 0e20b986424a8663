"""`forceserver drive`: driver, bias driver and CV server of a configuration, in one process."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import arguments

if TYPE_CHECKING:
    from ..configuration import Configuration
    from ..frame import Frame
    from ..ipi.activity import Activity
    from ..ipi.driver import DriverConfig
    from ..ipi.transports import SocketConfig
    from ..potentials.base import Potential


log = logging.getLogger(__name__)


class Role(str, Enum):
    """A role of a process: driver of forces, driver of a bias, or server of collective variables."""

    FORCE = "force"
    BIAS = "bias"
    CV = "cv"


def drive(
    config: arguments.Config,
    mpi: Annotated[
        bool,
        typer.Option(
            "--mpi", help="Serve i-PI's <ffmpi>: mpirun -n 1 i-pi IN.xml : -n N forceserver drive --mpi CONFIG"
        ),
    ] = False,
    mpi_name: Annotated[
        str, typer.Option(metavar="NAME", help="With --mpi: which <ffmpi name=...> to serve, if there are several.")
    ] = "",
    role: Annotated[
        list[Role] | None,
        typer.Option("--role", help="Play only this one of the configured roles (may be repeated). [default: all]"),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Host on which i-PI runs (mode 'inet'), instead of the configured addresses."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65534, help="TCP port of [socket], instead of the configured one; [bias_socket] uses the next."
        ),
    ] = None,
    verbose: arguments.Verbose = False,
) -> None:
    """Serve forces: connect to i-PI (or ASE) and evaluate the structures it sends until it sends EXIT.

    Waits for a server that is not running yet, and reconnects when it restarts. SIGTERM and Ctrl-C end it cleanly.
    With [cv_server] it also serves collective variables to PLUMED; with [bias] and [bias_socket], a bias to i-PI.
    Each of the three roles can be used alone. A CV server alone runs until it receives a signal.
    Exit code: 0 the server sent EXIT, a time limit was reached or a signal arrived; 1 it had to give up; 2 the
    configuration is wrong or does not match the server; 4 the potential is too uncertain of a structure.
    """
    from ..configuration import at_address, read_configuration, require
    from ..ipi.activity import of_this_process
    from ..template_structure import read_template
    from .logs import set_up_logging

    activity = of_this_process()
    set_up_logging(verbose)
    configuration = read_configuration(config)
    if host is not None or port is not None:
        configuration = at_address(configuration, host, port, config)
    template = read_template(configuration.structure)
    wanted = {Role.FORCE} if mpi else _wanted(config, configuration, role)
    if Role.FORCE in wanted:
        require(configuration.potential, "potential", config, "it says what computes the forces")
    with contextlib.ExitStack() as stack:
        variables = {}
        if configuration.cv and wanted & {Role.BIAS, Role.CV}:
            from ..cv import build_variables

            variables = build_variables(configuration.cv, template)
        driver = bias_driver = None
        if Role.BIAS in wanted:
            why = "it says where i-PI expects the bias (with ipi-pes i-PI computes it itself: --role force)"
            bias_socket = require(configuration.bias_socket, "bias_socket", config, why)
        if potential := _potential(configuration, template, wanted, activity):
            stack.callback(potential.close)
        if potential and Role.FORCE in wanted:
            driver = _force_driver(configuration, potential, template, mpi, mpi_name, _watched(activity, "force"))
        if configuration.cv_server and Role.CV in wanted:
            from ..cv_server.server import CVServer

            server = stack.enter_context(CVServer(configuration.cv_server, variables))
            log.info("the CV server is open at %s for %s", server.address, ", ".join(variables))
        if configuration.bias and Role.BIAS in wanted:  # last: nothing is written before everything else is ready
            from ..bias.choice import build_bias

            bias = build_bias(configuration.bias, variables, template, (lambda: potential) if potential else None)
            bias_driver = partial(
                _serve_bias, bias, template, bias_socket, configuration.driver, _watched(activity, "bias")
            )
        if driver and bias_driver:
            stack.enter_context(_beside(bias_driver))
        (driver or bias_driver or _wait_for_signal)()


def _wanted(config: Path, configuration: "Configuration", roles: list[Role] | None) -> set[Role]:
    """The requested roles that are configured."""
    from ..configuration import require

    wanted = set(roles or Role) & _configured(configuration)
    if not wanted:
        require(configuration.socket, "socket", config, "it says where the server listens")
        raise InputError(f"{config} does not configure the role {', '.join(sorted(roles or ()))}")
    return wanted


def _potential(
    configuration: "Configuration", template: "Frame", wanted: set[Role], activity: "Activity | None"
) -> "Potential | None":
    """What computes the forces, if they are served or a bias acts on their energy; each configuration once."""
    from ..potentials import build_potential

    is_biased = False
    if Role.BIAS in wanted:
        from ..bias.choice import acts_on_energy

        is_biased = acts_on_energy(configuration.bias)
    if configuration.potential is None or not (is_biased or Role.FORCE in wanted):
        return None
    potential = build_potential(configuration.potential, template, activity.trying() if activity else None)
    if not is_biased:
        return potential
    from ..bias.energy import SharedPotential

    return SharedPotential(potential)


def _watched(activity: "Activity | None", role: str) -> contextlib.AbstractContextManager:
    """The context of evaluations: shows the process that started this driver how long they take."""
    return activity.evaluating(role) if activity else contextlib.nullcontext()


def _force_driver(
    configuration: "Configuration",
    potential: "Potential",
    template: "Frame",
    mpi: bool,
    mpi_name: str,
    watched: contextlib.AbstractContextManager,
) -> Callable[[], object]:
    if mpi:
        from ..ipi.mpi import serve_mpi

        return partial(serve_mpi, potential, template, configuration.driver, name=mpi_name)
    from ..ipi.driver import serve

    assert configuration.socket is not None  # the role would not be wanted
    return partial(serve, potential, template, configuration.socket, configuration.driver, watched)


def _serve_bias(
    bias: "Potential",
    template: "Frame",
    socket: "SocketConfig",
    driver: "DriverConfig",
    watched: contextlib.AbstractContextManager,
) -> None:
    """The bias driver; the thread that writes its files also closes them."""
    from ..ipi.driver import serve

    with contextlib.closing(bias):
        serve(bias, template, socket, driver, watched)


def _configured(configuration: "Configuration") -> set[Role]:
    sections = {Role.FORCE: configuration.socket, Role.BIAS: configuration.bias, Role.CV: configuration.cv_server}
    return {role for role, section in sections.items() if section is not None}


@contextlib.contextmanager
def _beside(serve: Callable[[], object]) -> Iterator[None]:
    """Plays a second role in a thread; if that fails, the first one is ended by a signal and the error raised here."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            serve()
        except Exception as error:
            failures.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=run, name="bias-driver", daemon=True)
    thread.start()
    yield
    thread.join(timeout=5)  # i-PI sends EXIT to both; after a signal the thread ends with the process
    if failures:
        raise failures[0]


def _wait_for_signal() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
