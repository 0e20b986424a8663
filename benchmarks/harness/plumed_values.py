"""PLUMED through its Python wrapper, with values in the place of atoms."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from forceserver.bias.plumed.kernel import find_kernel


def session(folder: Path, names: Sequence[str], lines: Sequence[str]) -> Callable[[np.ndarray], None]:
    """A step of a new PLUMED with these lines of input, given the values of the variables (EXTRACV); kJ/mol, ps."""
    import plumed

    folder.mkdir(exist_ok=True)
    host = plumed.Plumed(kernel=find_kernel())
    host.cmd("setRealPrecision", 8)
    host.cmd("setNoVirial")
    host.cmd("setTimestep", 0.001)
    host.cmd("setKbT", 2.494)
    host.cmd("setNatoms", 1)
    host.cmd("setLogFile", str(folder / "log"))
    host.cmd("init")
    for line in (*(f"{name}: EXTRACV NAME=extra_{name}" for name in names), *lines):
        host.cmd("readInputLine", line)
    arrays = {"Positions": np.zeros((1, 3)), "Forces": np.zeros((1, 3)), "Masses": np.ones(1), "Box": 9 * np.eye(3)}
    values, forces = np.zeros((len(names), 1)), np.zeros((len(names), 1))
    step = 0

    def one(s: np.ndarray) -> None:
        nonlocal step
        values[:, 0] = s
        host.cmd("setStep", step)
        for key, array in arrays.items():
            host.cmd(f"set{key}", array)
        for k, name in enumerate(names):
            host.cmd(f"setExtraCV extra_{name}", values[k])
            host.cmd(f"setExtraCVForce extra_{name}", forces[k])
        host.cmd("calc")
        step += 1

    return one
