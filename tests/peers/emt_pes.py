"""ASE's EMT as a potential of i-PI's own Python driver (`i-pi-driver-py -m custom -P emt_pes.py`).

i-PI's own ASE driver is not used because its conversion factors have eight digits; here they are the ones of ase.units,
so that trajectories can be compared to round-off.
"""

import numpy as np
from ase.calculators.emt import EMT
from ase.io import read
from ase.units import Bohr, Hartree
from ipi.pes.dummy import Dummy_driver

__DRIVER_NAME__ = "emt"
__DRIVER_CLASS__ = "EmtDriver"


class EmtDriver(Dummy_driver):
    def __init__(self, template, *args, **kwargs):
        self.atoms = read(template)
        self.atoms.calc = EMT()
        super().__init__(*args, **kwargs)

    def compute_structure(self, cell, pos):
        self.atoms.positions = pos * Bohr
        self.atoms.cell = cell.T * Bohr
        virial = -self.atoms.get_stress(voigt=False) * self.atoms.get_volume()
        forces = self.atoms.get_forces() * (Bohr / Hartree)
        return self.atoms.get_potential_energy() / Hartree, forces, np.asarray(virial / Hartree), ""
