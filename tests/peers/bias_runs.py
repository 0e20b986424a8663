"""Metadynamics of BaTiO3 in i-PI: the action in <ffplumed>, hosted PLUMED, embedded from a driver or inside i-PI."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.io import read, write
from ase.units import Bohr
from ipi_runs import BIN, HERE, THREADS, ended, write_ipi_xyz
from plumed_runs import version
from polarization import TOML_P

import forceserver.ipi.pes
from forceserver.bias.coordinates import Coordinate
from forceserver.bias.grid import HillSum
from forceserver.bias.journal.deposits import DepositFile
from forceserver.bias.metadynamics import GrowingHills
from forceserver.bias.plumed.kernel import find_kernel

PACE = 5
SIGMA = 0.004
FROZEN_SIGMA = 0.04  # so wide that no configuration comes to the end of a hill, where its force jumps

FORCES = """
[potential]
kind = "ase"
calculator = "einstein.Einstein"
arguments = { structure = "batio3.extxyz" }
stress = "zero"

[socket]
mode = "unix"
address = "force"
prefix = "PREFIX"
"""

CONFIG = TOML_P + FORCES

BIAS_SOCKET = """
[bias_socket]
mode = "unix"
address = "bias"
prefix = "PREFIX"
"""

EMBEDDED = (
    BIAS_SOCKET
    + f"""
[bias]
engine = "metadynamics"
time_step_fs = 0.5
variables = [{{ name = "p_x", sigma = {SIGMA} }}, {{ name = "p_y", sigma = {SIGMA} }}]
hills = {{ height_eV = 0.05, pace_steps = {PACE}, temperature_K = 300, bias_factor = 10, grid = "none" }}
file_energy_unit = "eV"
"""
)

INSIDE = EMBEDDED.removeprefix(BIAS_SOCKET)  # i-PI calls the bias, which needs no socket

HOSTED = (
    BIAS_SOCKET
    + """
[bias]
engine = "plumed"
plumed_dat = "plumed.dat"
time_step_fs = 0.5
temperature_K = 300
"""
)

METAD = f"METAD ARG={{}} SIGMA={SIGMA},{SIGMA} HEIGHT=0.05 PACE={PACE} BIASFACTOR=10 TEMP=300 FILE=HILLS FMT=%24.16g\n"
PRINT = "PRINT ARG={} STRIDE=1 FILE=COLVAR FMT=%.14g\n"

PLUMED_DAT = {
    "hosted": "UNITS ENERGY=eV LENGTH=A\nx: EXTRACV NAME=p_x\ny: EXTRACV NAME=p_y\n"
    + METAD.format("x,y")
    + PRINT.format("x,y"),
    "action": "UNITS ENERGY=eV LENGTH=A\nLOAD FILE=ACTION\np: FORCESERVER ADDRESS=PREFIXcv CV=p\n"
    + METAD.format("p.x,p.y")
    + PRINT.format("p.x,p.y"),
}

FROZEN = (
    f"METAD ARG={{}} SIGMA={FROZEN_SIGMA},{FROZEN_SIGMA} HEIGHT=0.05 PACE={10**9} BIASFACTOR=10 TEMP=300 FILE=HILLS "
    "RESTART=YES GRID_MIN=-0.2,-0.2 GRID_MAX=0.2,0.2 GRID_BIN=200,200\n"
)
FROZEN_CENTRES = np.linspace((0.0, 0.008), (-0.05, 0.003), 11)
RESTRAINT = "RESTRAINT ARG={} AT=0.01,0 KAPPA=2000,2000\n"
RESTRAINTS = """
[[bias.restraints]]
variable = "p_x"
at = 0.01
kappa_eV = 2000.0

[[bias.restraints]]
variable = "p_y"
at = 0.0
kappa_eV = 2000.0
"""

FORCEFIELD = {
    "driver": "<ffsocket name='bias' mode='unix' pbc='False'><address>bias</address><latency>1e-4</latency></ffsocket>",
    "inside": "<ffdirect name='bias' pbc='False'><pes>custom</pes><pes_path>PES</pes_path>"
    "<parameters>{config: forceserver.toml, role: bias}</parameters></ffdirect>",
    "action": "<ffplumed name='bias'><file mode='xyz'> ipi.xyz </file><plumed_dat> plumed.dat </plumed_dat></ffplumed>",
}


def ipi_input(prefix: str, way: str, beads: int, dynamics: str, steps: int, checkpoints: int = 0) -> str:
    """The input of i-PI; checkpoints: the steps between them, 0: none."""
    forcefield = {**FORCEFIELD, "none": ""}.get(way, FORCEFIELD["driver"]).replace("PES", forceserver.ipi.pes.__file__)
    smotion = "<smotion mode='metad'><metad><metaff> [ bias ] </metaff></metad></smotion>" if way == "action" else ""
    extras = interpolated = ""
    if way in ("embedded", "hosted", "inside"):
        extras = "<trajectory stride='1' filename='cv' extra_type='p_x'> extras_bias </trajectory>"
        interpolated = "<interpolate_extras> [ p_x, p_y ] </interpolate_extras>"
    bias = f"<bias><force forcefield='bias' nbeads='1'>{interpolated}</force></bias>" if forcefield else ""
    checkpoint = f"<checkpoint stride='{checkpoints}' filename='checkpoint' overwrite='False'/>" if checkpoints else ""
    # Springs to fixed places push the centre of mass; taking its motion out would take energy out.
    centre_of_mass = "<fixcom> False </fixcom>" if dynamics == "nve" else ""
    bath = "<thermostat mode='pile_g'><tau units='femtosecond'>50</tau></thermostat>" if dynamics == "nvt" else ""
    return f"""<simulation verbosity='low' floatformat='%25.17e' sockets_prefix='{prefix}'>
  <output prefix='out'>
    <properties stride='1' filename='properties'> [ step, conserved, ensemble_bias ] </properties>
    <trajectory stride='1' filename='centroid' format='xyz'> x_centroid{{atomic_unit}} </trajectory>
    {extras}
    {checkpoint}
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>31415</seed></prng>
  <ffsocket name='force' mode='unix' pbc='False'><address>force</address><latency>1e-4</latency></ffsocket>
  {forcefield}
  {smotion}
  <system>
    <initialize nbeads='{beads}'>
      <file mode='xyz'> ipi.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='force'/></forces>
    <motion mode='dynamics'>
      {centre_of_mass}
      <dynamics mode='{dynamics}'>
        <timestep units='femtosecond'> 0.5 </timestep>
        {bath}
      </dynamics>
    </motion>
    <ensemble>
      <temperature units='kelvin'> 300 </temperature>
      {bias}
    </ensemble>
  </system>
</simulation>
"""


def prepare(folder: Path, atoms, way: str, beads: int, steps: int, action=None, static=None, checkpoints=0) -> None:
    """Writes the inputs of i-PI, forceserver and PLUMED.

    static: at constant energy, with restraints ("restraint") or the hills of `write_hills` ("hills"), on a grid, to
    which nothing is added. way "none": without bias.
    """
    folder.mkdir()
    prefix = f"{folder}/s_" if len(str(folder)) < 90 else f"/tmp/fs_{os.getpid()}_{way}_"
    write(folder / "batio3.extxyz", atoms)
    write_ipi_xyz(folder / "ipi.xyz", atoms)
    dynamics = "nve" if static else "nvt"
    (folder / "input.xml").write_text(ipi_input(prefix, way, beads, dynamics, steps, checkpoints))
    driver = {
        "embedded": EMBEDDED,
        "inside": INSIDE,
        "hosted": HOSTED,
        "action": '\n[cv_server]\naddress = "PREFIXcv"\n',
        "none": "",
    }[way]
    config = (CONFIG + driver).replace("PREFIX", prefix)
    names = {"hosted": ("x", "y"), "action": ("p.x", "p.y")}.get(way, ("p_x", "p_y"))
    if static and way == "embedded":
        config = frozen(config) if static != "restraint" else without_hills(config) + RESTRAINTS
    (folder / "forceserver.toml").write_text(config)
    if way in PLUMED_DAT:
        text, arguments = PLUMED_DAT[way].replace("PREFIX", prefix).replace("ACTION", str(action)), ",".join(names)
        if static:
            other = RESTRAINT if static == "restraint" else FROZEN
            text = text.replace(METAD.format(arguments), other.format(arguments))
        (folder / "plumed.dat").write_text(text)
    if static == "hills":
        write_hills(folder / "HILLS", names)


def write_hills(path: Path, names: Sequence[str]) -> None:
    """A ridge of eleven hills of 0.05 eV."""
    coordinates, sigmas = [Coordinate(name) for name in names], [FROZEN_SIGMA, FROZEN_SIGMA]
    ridge = GrowingHills(HillSum(coordinates), coordinates, sigmas, 0.05, PACE, 300, bias_factor=10, energy_unit="eV")
    file = DepositFile(path, ridge, time_step_ps=0.0005, biased=[0, 1])
    for centre in FROZEN_CENTRES:
        file.deposit([0.0, *centre, *sigmas, 0.05 * 10 / 9, 10])  # heights in the file are those of the free energy
        file.note()
    file.close()


def without_hills(config: str) -> str:
    return "\n".join(line for line in config.splitlines() if not line.startswith("hills"))


def frozen(config: str) -> str:
    """The hills that are there, on a grid, and no others."""
    config = config.replace(f"pace_steps = {PACE}", f"pace_steps = {10**9}").replace('grid = "none"', 'grid = "fixed"')
    return config.replace(f"sigma = {SIGMA}", f"sigma = {FROZEN_SIGMA}, lower = -0.2, upper = 0.2, bins = 200")


def environment() -> dict[str, str]:
    """For i-PI and forceserver: one thread, the calculator of the tests, PLUMED if there is one."""
    found = {**os.environ, **THREADS, "PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"}
    kernel = find_kernel()
    if kernel:
        found["PLUMED_KERNEL"] = kernel
        if version() < (2, 10):  # cannot link the action against the kernel (docs/plumed.md)
            found["PLUMED_LOAD_NAMESPACE"] = "GLOBAL"
    return found


def start(folder: Path, log: str, *command: str) -> subprocess.Popen:
    """A program in `folder`, in a session of its own; what it says is appended to the file `log`."""
    with open(folder / log, "a") as file:
        return subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=file, env=environment(), start_new_session=True
        )


def simulate(folder: Path, atoms, way: str, beads: int = 8, steps: int = 60, action=None, static=None):
    """Runs i-PI and one forceserver process; i-PI's properties and centroid positions (steps + 1, N, 3) in Angstrom."""
    prepare(folder, atoms, way, beads, steps, action, static)
    roles = ["--role", "force"] if way == "inside" else []
    server = start(folder, "log", sys.executable, "-m", "forceserver", "drive", "forceserver.toml", *roles)
    ipi = start(folder, "log", str(BIN / "i-pi"), "input.xml")
    with ended(server, ipi):
        assert ipi.wait(300) == 0, (folder / "log").read_text()
        assert server.wait(20) == 0, (folder / "log").read_text()
    assert "Traceback" not in (folder / "log").read_text(), (folder / "log").read_text()
    properties = np.loadtxt(folder / "out.properties")
    return properties, [Bohr * frame.positions for frame in read(folder / "out.centroid.xyz", ":")]
