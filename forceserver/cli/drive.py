"""`forceserver drive`: opens the doors of a configuration."""

import contextlib
import signal
import threading
from typing import Annotated

import typer

from . import arguments


def drive(
    config: arguments.Config,
    mpi: Annotated[
        bool,
        typer.Option(
            "--mpi", help="Be a driver of i-PI's <ffmpi>: mpirun -n 1 i-pi IN.xml : -n N forceserver drive --mpi CONFIG"
        ),
    ] = False,
    mpi_name: Annotated[
        str, typer.Option(metavar="NAME", help="With --mpi: the <ffmpi name=...> to serve, if there are several.")
    ] = "",
    verbose: arguments.Verbose = False,
) -> None:
    """Serve forces: connect to i-PI (or ASE) and evaluate what it sends until it says EXIT.

    Waits for a server that is not up yet, and reconnects when it restarts. SIGTERM and Ctrl-C end it cleanly.
    With a section [cv_door] it also serves collective variables to PLUMED; without [socket] nothing else, and until a
    signal comes.
    Exit code: 0 the server said EXIT, a limit of time was reached or a signal came; 1 it had to give up; 2 the
    configuration is wrong, or not for this server.
    """
    from ..potentials import build_potential
    from ..settings import load, require
    from ..template import read_template
    from .logs import set_up_logging

    set_up_logging(verbose)
    settings = load(config)
    template = read_template(settings.structure)
    if not mpi and not settings.cv_door:
        require(settings.socket, "socket", config, "it says where the server listens")
    with contextlib.ExitStack() as doors:
        if settings.cv_door:
            from ..cv import build_variables
            from ..doors.cv_server import CVServer

            doors.enter_context(CVServer(settings.cv_door, build_variables(settings.cv, template)))
        if mpi:
            from ..doors.mpi_client import serve_mpi

            potential = build_potential(settings.potential, template)
            serve_mpi(potential, template, settings.driver, name=mpi_name)
        elif settings.socket:
            from ..doors.ipi_client import serve

            potential = build_potential(settings.potential, template)
            serve(potential, template, settings.socket, settings.driver)
        else:
            _wait_for_signal()


def _wait_for_signal() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
