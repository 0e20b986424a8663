"""A driver process for the tests: serves a potential to a socket without any configuration file."""

import argparse
import logging
import sys
from pathlib import Path

from ase.calculators.emt import EMT
from ase.io import read

from forceserver.doors.ipi_client import DriverConfig, serve
from forceserver.doors.transports import SocketConfig
from forceserver.errors import ForceServerError
from forceserver.frame import Frame
from forceserver.potentials.ase import AsePotential


def main() -> int:
    """Serves until told to leave; exit code as the program's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("template", type=Path)
    parser.add_argument("--mode", default="unix")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--prefix", default="/tmp/ipi_")
    options = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG, format="%(process)d %(levelname)s %(message)s")
    template = Frame.from_ase(read(options.template))
    where = SocketConfig(mode=options.mode, address=options.address, port=options.port, prefix=options.prefix)
    config = DriverConfig(connect_deadline_seconds=60, failed_frames=options.template.parent / "failed")
    try:
        print(serve(AsePotential(EMT()), template, where, config))
    except ForceServerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
