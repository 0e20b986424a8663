"""What a page takes for granted: the files that its reader has."""

import shutil
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from blocks import ROOT

sys.path.append(str(ROOT / "tests" / "analysis"))
from langevin import double_well_slope, sample, slope_2d

CONFIG = """
[structure]
file = "start.extxyz"

[potential]
kind = "ase"
calculator = "ase.calculators.emt.EMT"

[socket]
mode = "unix"
address = "al"
prefix = "./"

[simulation]
input = "input.xml"
"""
INPUT = """
<simulation verbosity='low' threading='False' sockets_prefix='./'>
  <output prefix='out'><properties stride='1' filename='properties'> [ step, conserved ] </properties></output>
  <total_steps>5</total_steps>
  <prng><seed>31415</seed></prng>
  <ffsocket name='al' mode='unix'><address>al</address><latency>0</latency></ffsocket>
  <system>
    <initialize nbeads='8'>
      <file mode='ase'> start.extxyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='al'/></forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nve'><timestep units='femtosecond'> 1 </timestep></dynamics>
    </motion>
  </system>
</simulation>
"""


def aluminium(folder: Path) -> None:
    """A simulation of eight beads with a potential of ASE."""
    bulk("Al", cubic=True).write(folder / "start.extxyz")
    (folder / "forceserver.toml").write_text(CONFIG)
    (folder / "input.xml").write_text(INPUT)


def crystal(folder: Path) -> None:
    bulk("Cu", cubic=True).write(folder / "start.cif")


def labelled(folder: Path) -> None:
    """Structures with energies and forces."""
    aluminium(folder)
    frames = []
    for seed in range(4):
        atoms = bulk("Al", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
        frames.append(atoms)
    ase.io.write(folder / "structures.extxyz", frames)


def titanate(folder: Path) -> None:
    data = ROOT / "workflows" / "batio3" / "data" / "test.extxyz"
    ase.io.write(folder / "in.extxyz", ase.io.read(data, ":2"))


def hills(folder: Path) -> None:
    """Two walkers in a double well."""
    axis = {"name": "x", "sigma": 0.2, "lower": -3, "upper": 3}
    for walker in range(2):
        place = folder / str(walker)
        place.mkdir()
        sample(place, [axis], double_well_slope, 20_000, seed=walker, height_eV=0.02, pace_steps=50, bias_factor=8)
        shutil.copy(place / "HILLS", folder / f"HILLS.{walker}")
    shutil.copy(folder / "HILLS.0", folder / "HILLS")
    shutil.copy(folder / "0" / "COLVAR", folder / "COLVAR")


def walkers(folder: Path) -> None:
    """Four walkers of three variables."""
    (folder / "hills").mkdir()
    names = [f"polarization_{x}" for x in "xyz"]
    axes = [{"name": name, "sigma": 0.3, "lower": -3, "upper": 3} for name in names]
    slope = lambda s: np.array([*slope_2d(s[:2]), 0.4 * s[2]])  # noqa: E731
    for walker in range(4):
        place = folder / f"{walker}"
        place.mkdir()
        sample(place, axes, slope, 500, seed=walker, height_eV=0.02, pace_steps=50, bias_factor=8)
        shutil.copy(place / "HILLS", folder / "hills" / f"HILLS.{walker}")


def model(folder: Path) -> None:
    shutil.copy(ROOT / "workflows" / "batio3" / "potential" / "batio3.npz", folder / "si.npz")


SCENERY = {
    "docs/commands/check.md": aluminium,
    "docs/commands/describe.md": titanate,
    "docs/commands/drive.md": aluminium,
    "docs/commands/evaluate.md": labelled,
    "docs/commands/fes.md": hills,
    "docs/commands/info.md": model,
    "docs/commands/init.md": crystal,
    "docs/commands/launch.md": aluminium,
    "docs/metadynamics.md": hills,
    "workflows/batio3/walkers/README.md": walkers,
}
