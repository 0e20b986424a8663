"""`forceserver drive`: the client of the i-PI protocol."""

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
    if not mpi:
        require(settings.socket, "socket", config, "it says where the server listens")
    potential = build_potential(settings.potential, template)
    if mpi:
        from ..doors.mpi_client import serve_mpi

        serve_mpi(potential, template, settings.driver, name=mpi_name)
    else:
        from ..doors.ipi_client import serve

        serve(potential, template, settings.socket, settings.driver)
