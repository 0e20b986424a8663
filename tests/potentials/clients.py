"""Clients of i-PI's protocol for the tests: EMT through ASE's own client, with the faults that are asked for.

python clients.py ADDRESS FAULT FILE      FAULT: nan, atoms, dies, hangs, hangs-once or nothing
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from ase.calculators.emt import EMT
from ase.calculators.socketio import SocketClient
from ase.io import read


class Faulty(EMT):
    """EMT that does what it should not."""

    fault = ""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        if self.fault == "nan":
            self.results["energy"] = np.nan
        if self.fault == "dies":
            os._exit(3)
        if self.fault == "hangs" or (self.fault == "hangs-once" and not Path("hung").exists()):
            Path("hung").touch()
            time.sleep(1000)


def main(address: str, fault: str, structure: str) -> None:
    print("EMT begins", flush=True)
    atoms = read(structure)
    if fault == "atoms":
        atoms = atoms[:-1]
    atoms.calc = Faulty()
    Faulty.fault = fault
    SocketClient(unixsocket=address).run(atoms, use_stress=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
