"""`forceserver drive CONFIG`, and again whenever it is killed.

A fork that has everything imported is there in milliseconds instead of seconds.
"""

import sys

import ase.io
import plumed
from emt_driver import respawn

from forceserver import configuration, cv, template_structure
from forceserver.bias import choice
from forceserver.cli.app import main
from forceserver.cv_server import server as cv_server
from forceserver.ipi import driver
from forceserver.potentials import ase as ase_potential

IMPORTED = ase.io, plumed, configuration, cv, template_structure, choice, cv_server, driver, ase_potential

if __name__ == "__main__":
    respawn()
    sys.argv = ["forceserver", "drive", sys.argv[1]]
    main()
