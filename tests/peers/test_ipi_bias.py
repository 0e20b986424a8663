"""Metadynamics of BaTiO3 in i-PI, in three ways: the action in <ffplumed>, PLUMED behind the bias door, embedded."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write
from ase.units import Bohr, Hartree
from ipi_runs import BIN, HERE, THREADS
from plumed_runs import version

from forceserver.bias.plumed_kernel import find_kernel
from forceserver.cv import build_variables
from forceserver.frame import Frame
from forceserver.settings import load

STEPS = 60
PACE = 5
SIGMA = 0.004

CONFIG = """
[structure]
file = "batio3.extxyz"

[potential]
kind = "ase"
calculator = "einstein.Einstein"
arguments = { structure = "batio3.extxyz" }
stress = "zero"

[socket]
mode = "unix"
address = "force"
prefix = "PREFIX"

[[cv]]
name = "p"
centres = "Ti"
neighbours = "O"
weights = [0.7, 0.3]

[cv.basis]
kind = "gto"
n_max = 2
l_max = 1
cutoff = { cutoff_angstrom = 3.0, width_angstrom = 0.5 }
density = { kind = "gaussian", sigma_angstrom = 0.4 }
"""

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

METAD = f"METAD ARG={{}} SIGMA={SIGMA},{SIGMA} HEIGHT=0.05 PACE={PACE} BIASFACTOR=10 TEMP=300 FILE=HILLS FMT=%24.12g\n"

PLUMED_DAT = {
    "hosted": "UNITS ENERGY=eV LENGTH=A\nx: EXTRACV NAME=p_x\ny: EXTRACV NAME=p_y\n" + METAD.format("x,y"),
    "action": "UNITS ENERGY=eV LENGTH=A\nLOAD FILE=ACTION\np: FORCESERVER ADDRESS=PREFIXcv CV=p\n"
    + METAD.format("p.x,p.y"),
}

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
    "door": "<ffsocket name='bias' mode='unix' pbc='False'><address>bias</address><latency>1e-4</latency></ffsocket>",
    "action": "<ffplumed name='bias'><file mode='xyz'> ipi.xyz </file><plumed_dat> plumed.dat </plumed_dat></ffplumed>",
}


def ipi_input(prefix: str, way: str, beads: int, dynamics: str) -> str:
    forcefield = FORCEFIELD["action" if way == "action" else "door"]
    smotion = "<smotion mode='metad'><metad><metaff> [ bias ] </metaff></metad></smotion>" if way == "action" else ""
    extras = (
        "" if way == "action" else "<trajectory stride='1' filename='cv' extra_type='p_x'> extras_bias </trajectory>"
    )
    interpolated = "" if way == "action" else "<interpolate_extras> [ p_x, p_y ] </interpolate_extras>"
    bath = "<thermostat mode='pile_g'><tau units='femtosecond'>50</tau></thermostat>" if dynamics == "nvt" else ""
    return f"""<simulation verbosity='low' floatformat='%25.17e' sockets_prefix='{prefix}'>
  <output prefix='out'>
    <properties stride='1' filename='properties'> [ step, conserved, ensemble_bias ] </properties>
    <trajectory stride='1' filename='centroid' format='xyz'> x_centroid{{atomic_unit}} </trajectory>
    {extras}
  </output>
  <total_steps>{STEPS}</total_steps>
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
      <dynamics mode='{dynamics}'>
        <timestep units='femtosecond'> 0.5 </timestep>
        {bath}
      </dynamics>
    </motion>
    <ensemble>
      <temperature units='kelvin'> 300 </temperature>
      <bias><force forcefield='bias' nbeads='1'>{interpolated}</force></bias>
    </ensemble>
  </system>
</simulation>
"""


def simulate(folder: Path, atoms, way: str, beads: int = 8, action: Path | None = None, static: bool = False):
    """Runs i-PI and one forceserver process; i-PI's properties and centroid positions (STEPS + 1, N, 3) in Angstrom.

    static: at constant energy, with restraints in place of hills.
    """
    folder.mkdir()
    prefix = f"{folder}/s_" if len(str(folder)) < 90 else f"/tmp/fs_{os.getpid()}_{way}_"
    write(folder / "batio3.extxyz", atoms)
    cell = " ".join(f"{x:.17g}" for x in (atoms.cell.array.T / Bohr).ravel())
    lines = [str(len(atoms)), f"# CELL(H): {cell} cell{{atomic_unit}} positions{{atomic_unit}}"]
    for symbol, position in zip(atoms.symbols, atoms.positions / Bohr, strict=True):
        lines.append(" ".join([symbol, *(f"{x:.17g}" for x in position)]))
    (folder / "ipi.xyz").write_text("\n".join(lines) + "\n")
    (folder / "input.xml").write_text(ipi_input(prefix, way, beads, "nve" if static else "nvt"))
    door = {"embedded": EMBEDDED, "hosted": HOSTED, "action": '\n[cv_door]\naddress = "PREFIXcv"\n'}[way]
    config = (CONFIG + door).replace("PREFIX", prefix)
    if static and way == "embedded":
        config = "\n".join(line for line in config.splitlines() if not line.startswith("hills")) + RESTRAINTS
    (folder / "forceserver.toml").write_text(config)
    if way in PLUMED_DAT:
        text = PLUMED_DAT[way].replace("PREFIX", prefix).replace("ACTION", str(action))
        if static:
            arguments = "p.x,p.y" if way == "action" else "x,y"
            text = text.replace(METAD.format(arguments), RESTRAINT.format(arguments))
        (folder / "plumed.dat").write_text(text)
    environment = {**os.environ, **THREADS, "PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"}
    kernel = find_kernel()
    if kernel:
        environment["PLUMED_KERNEL"] = kernel
        if version() < (2, 10):  # cannot link the action against the kernel (docs/plumed.md)
            environment["PLUMED_LOAD_NAMESPACE"] = "GLOBAL"
    with open(folder / "log", "w") as log:
        started = {"cwd": folder, "stdout": log, "stderr": log, "env": environment}
        server = subprocess.Popen([sys.executable, "-m", "forceserver", "drive", "forceserver.toml"], **started)
        ipi = subprocess.Popen([BIN / "i-pi", "input.xml"], **started)
        try:
            assert ipi.wait(120) == 0, (folder / "log").read_text()
            assert server.wait(20) == 0, (folder / "log").read_text()
        finally:
            ipi.kill()
            server.kill()
    assert "Traceback" not in (folder / "log").read_text(), (folder / "log").read_text()
    properties = np.loadtxt(folder / "out.properties")
    return properties, [Bohr * frame.positions for frame in read(folder / "out.centroid.xyz", ":")]


def values_at(folder: Path, positions, atoms) -> np.ndarray:
    """The x and y of the variable, from the library."""
    frame = Frame.from_ase(atoms)
    variable = build_variables(load(folder / "forceserver.toml").cv, frame)["p"]
    values = []
    for frame.positions in positions:
        values.append(variable.compute(frame).values[:2])
    return np.array(values)


@pytest.fixture
def crystal(batio3):
    """As i-PI wants cells: upper triangular h."""
    batio3.set_cell(batio3.cell.standard_form()[0], scale_atoms=True)
    return batio3


WAYS = [pytest.param(way, marks=pytest.mark.plumed) for way in ("action", "hosted")] + ["embedded"]


@pytest.mark.parametrize("way", WAYS)
def test_hills_lie_on_the_centroid_once_every_pace_steps(way, crystal, tmp_path, request):
    action = request.getfixturevalue("action") if way == "action" else None
    properties, centroids = simulate(tmp_path / way, crystal, way, action=action)
    values = values_at(tmp_path / way, centroids, crystal)
    hills = np.loadtxt(tmp_path / way / "HILLS", ndmin=2)
    # The hill of the last step comes with the next configuration (bias door), or at the end of the step (i-PI's metad).
    assert len(hills) in (STEPS // PACE - 1, STEPS // PACE)
    steps = PACE * np.arange(1, len(hills) + 1)
    np.testing.assert_allclose(hills[:, 1:3], values[steps], atol=1e-5)  # i-PI writes positions with five decimals
    assert np.ptp(hills[:, 1]) > 1e-3
    assert abs(properties[:, 2] * Hartree).max() > 0.04
    if way != "action":
        printed = np.loadtxt(tmp_path / way / "out.cv_0").ravel()
        np.testing.assert_allclose(printed, values[:, 0], atol=1e-5)
        np.testing.assert_allclose(hills[:, 1], printed[steps], atol=1e-9)


@pytest.mark.plumed
def test_hosted_and_embedded_go_the_same_way(crystal, tmp_path):
    """The same trajectory, the same hills, to what PLUMED's unit conversions leave."""
    runs = {way: simulate(tmp_path / way, crystal, way, beads=2) for way in ("hosted", "embedded")}
    hosted, embedded = (np.loadtxt(tmp_path / way / "HILLS", ndmin=2) for way in ("hosted", "embedded"))
    n = min(len(hosted), len(embedded))
    assert n >= STEPS // PACE - 1
    np.testing.assert_allclose(hosted[:n, :6], embedded[:n, :6], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(runs["hosted"][0][:, 2], runs["embedded"][0][:, 2], atol=1e-7)


@pytest.mark.parametrize("way", WAYS)
def test_energy_is_conserved_with_a_static_bias(way, crystal, tmp_path, request):
    action = request.getfixturevalue("action") if way == "action" else None
    properties, _ = simulate(tmp_path / way, crystal, way, beads=1, action=action, static=True)
    conserved, bias = properties[:, 1] * Hartree, properties[:, 2] * Hartree
    assert np.ptp(bias) > 0.05
    assert np.ptp(conserved) < 0.02 * np.ptp(bias)
