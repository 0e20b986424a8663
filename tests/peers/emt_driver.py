"""A driver process for the tests: serves a potential to a socket without any configuration file."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

from ase.calculators.emt import EMT
from ase.io import read

from forceserver.errors import ForceServerError
from forceserver.frame import Frame
from forceserver.ipi.driver import DriverConfig, serve
from forceserver.ipi.transports import SocketConfig
from forceserver.potentials.ase import AsePotential


def main() -> int:
    """Serves until told to leave; exit code as the program's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("template", type=Path)
    parser.add_argument("--mode", default="unix")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--prefix", default="/tmp/ipi_")
    parser.add_argument("--respawn", action="store_true", help="fork a driver, and another one whenever it is killed")
    parser.add_argument("--once", action="store_true", help="end when the server closes the connection")
    options = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG, format="%(process)d %(levelname)s %(message)s")
    template = Frame.from_ase(read(options.template))
    where = SocketConfig(mode=options.mode, address=options.address, port=options.port, prefix=options.prefix)
    config = DriverConfig(
        connect_deadline_seconds=60, failed_frames=options.template.parent / "failed", reconnect=not options.once
    )
    if options.respawn:
        respawn()
    try:
        print(serve(AsePotential(EMT()), template, where, config))
    except ForceServerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def respawn() -> None:
    """Returns in a child, as often as the child before was killed; ends with the exit code of one that was not.

    A new process that has everything imported is there in a millisecond instead of a second.
    """
    while True:
        child = os.fork()
        if child == 0:
            return
        print(f"driver {child}", flush=True)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != -signal.SIGKILL:
            sys.exit(code)


if __name__ == "__main__":
    sys.exit(main())
