"""A small run of `forceserver learn`: eight atoms of copper and gold, with ASE's EMT as the reference."""

from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk

CONFIG = """
output = "cuau.npz"

[data]
train = "start.extxyz"

[fit]
model = "ace"
functions = 40
cutoff_angstrom = 4.0

[fit.sigma.default]
energy_ev = 0.003

[[simulations]]
structure = "crystal.extxyz"
temperatures_K = [600]
timestep_fs = 4.0
steps = 20

[selection]
records = 4

[reference]
kind = "ase"
calculator = "ase.calculators.emt.EMT"

[target]
force_ev_per_angstrom = 0.5
"""

FAILING = """
from pathlib import Path

from ase.calculators.emt import EMT


class Failing(EMT):
    '''Fails as a program does that does not converge, at the structures that a file names.'''

    def calculate(self, *args, **kwargs):
        calls = Path(__file__).with_name("calls")
        number = len(calls.read_text()) if calls.exists() else 0
        with open(calls, "a") as file:
            file.write(".")
        if number in eval(Path(__file__).with_name("fails").read_text()):
            raise RuntimeError("the density does not converge")
        super().calculate(*args, **kwargs)
"""


def crystal():
    atoms = bulk("Cu", a=3.75, cubic=True) * (2, 1, 1)
    atoms.symbols[[1, 4, 6]] = "Au"
    return atoms


def structures(count: int, seed: int = 0):
    random = np.random.default_rng(seed)
    for number in range(count):
        atoms = crystal()
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.02 * random.standard_normal((3, 3))), scale_atoms=True)
        atoms.rattle(0.08, seed=seed + number)
        yield atoms


def write_case(folder: Path, *changes: tuple[str, str], count: int = 16) -> Path:
    """The configuration of a run in a folder, with changes of its text."""
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    ase.io.write(folder / "start.extxyz", list(structures(count)))
    crystal().write(folder / "crystal.extxyz")
    (folder / "learn.toml").write_text(text)
    return folder / "learn.toml"


def with_failures(folder: Path, fails: str) -> tuple[str, str]:
    """A reference that fails at these calls; a change for `write_case`."""
    (folder / "failing_reference.py").write_text(FAILING)
    (folder / "fails").write_text(fails)
    return "ase.calculators.emt.EMT", "failing_reference.Failing"
