"""ASE's `SocketClient` with a calculator that returns zeros.

    python ase_zero.py unix NAME ATOMS        python ase_zero.py tcp PORT ATOMS

NAME is the part of the path behind /tmp/ipi_, which ASE fixes.
"""

import sys

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.socketio import SocketClient


class Zero(Calculator):
    """Constant results: nothing is computed and nothing allocated."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, atoms: int):
        super().__init__()
        self.zeros = {"energy": 0.0, "forces": np.zeros((atoms, 3)), "stress": np.zeros(6)}

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = self.zeros


if __name__ == "__main__":
    transport, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    structure = Atoms(f"H{count}", positions=np.zeros((count, 3)), cell=[20, 20, 20], pbc=True, calculator=Zero(count))
    where = {"port": int(address)} if transport == "tcp" else {"unixsocket": address}
    SocketClient(**where).run(structure, use_stress=True)
