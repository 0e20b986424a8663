"""i-PI with PLUMED inside under `launch`: killed and started again, each hill once; with variables of the CV server."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from bias_runs import environment
from proc import descendants

pytestmark = [pytest.mark.plumed, pytest.mark.slow]

CONFIG = """
[structure]
file = "al.extxyz"

[potential]
kind = "ase"
calculator = "ase.calculators.emt.EMT"

[socket]
address = "al"
prefix = "{prefix}"

[simulation]
input = "input.xml"
"""

INPUT = """
<simulation verbosity='low' threading='False' sockets_prefix='{prefix}'>
  <output prefix='sim'>
    <properties stride='1' filename='out'> [ step, conserved ] </properties>
    <checkpoint stride='25' filename='state'/>
  </output>
  <total_steps>100</total_steps>
  <ffsocket name='al' mode='unix'><address>al</address><latency>0</latency></ffsocket>
  <ffplumed name='plumed'><file mode='ase'>al.extxyz</file><plumed_dat>plumed.dat</plumed_dat></ffplumed>
  <smotion mode='metad'><metad><metaff>[plumed]</metaff></metad></smotion>
  <system>
    <initialize nbeads='1'>
      <file mode='ase'> al.extxyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='al'/></forces>
    <ensemble>
      <temperature units='kelvin'> 300 </temperature>
      <bias><force forcefield='plumed' nbeads='1'/></bias>
    </ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nve'><timestep units='femtosecond'> 1 </timestep></dynamics>
    </motion>
  </system>
</simulation>
"""

PLUMED_DAT = """
d: DISTANCE ATOMS=1,2
METAD ARG=d SIGMA=0.01 HEIGHT=0.1 PACE=5 FILE=HILLS
PRINT ARG=d STRIDE=1 FILE=COLVAR
"""


@pytest.mark.parametrize(
    ("flushed", "stride", "unit"), [(True, 25, "ps"), (False, 25, "ps"), (True, 27, "ps"), (True, 25, "fs")]
)
def test_tables_of_plumed_are_cut_and_what_is_missing_is_said(tmp_path, flushed, stride, unit):
    """A state of step 54 is one before a hill, which PLUMED does not add in its first step; a step is 1 ps for it."""
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.write(tmp_path / "al.extxyz")
    prefix = f"{tmp_path}/s_"
    (tmp_path / "forceserver.toml").write_text(CONFIG.format(prefix=prefix))
    (tmp_path / "input.xml").write_text(INPUT.format(prefix=prefix).replace("stride='25'", f"stride='{stride}'"))
    (tmp_path / "plumed.dat").write_text(f"UNITS TIME={unit}\n" + PLUMED_DAT + "FLUSH STRIDE=1\n" * flushed)
    command = [sys.executable, "-m", "forceserver", "launch", "forceserver.toml"]
    launch = subprocess.Popen(command, cwd=tmp_path, env=environment())
    out = tmp_path / "sim.out"
    deadline = time.monotonic() + 120
    while not out.exists() or out.read_text().count("\n") < 65:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(next(pid for pid, command in descendants(launch.pid).items() if "bin/i-pi" in command), signal.SIGKILL)
    assert launch.wait(60) == 1

    run = subprocess.run(
        [*command, "--restart"], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert ("HILLS is empty, the state is at step 50" in run.stderr) == (not flushed)
    assert ("will have no hill of step 55" in run.stderr) == (stride == 27)
    steps_per_time = {"ps": 1, "fs": 1e-3}[unit]
    times = {name: np.loadtxt(tmp_path / name, usecols=0) * steps_per_time for name in ("HILLS", "COLVAR")}
    if flushed:
        hills = [step for step in range(5, 101, 5) if step != 55 or stride != 27]
        np.testing.assert_allclose(times["HILLS"], hills, rtol=1e-6)
        np.testing.assert_allclose(times["COLVAR"], np.arange(1, 101), rtol=1e-6)
    np.testing.assert_array_equal(np.loadtxt(out, usecols=0), np.arange(101))


VARIABLE = """
[cv_server]
address = "{address}"

[[cv]]
name = "v"
centres = [0]
neighbours = "Al"
weights = [1.0]

[cv.basis]
kind = "gto"
n_max = 1
l_max = 1
cutoff = {{ cutoff_angstrom = 3.5, width_angstrom = 0.5 }}
density = {{ kind = "gaussian", sigma_angstrom = 0.4 }}
"""


def cv_servers(launch: int) -> list[int]:
    return [pid for pid in descendants(launch) if b"cv" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]


def test_variables_of_the_cv_server(tmp_path, action):
    """PLUMED asks for them before i-PI listens, so `check` and `launch` open the server first, and again if it dies."""
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.write(tmp_path / "al.extxyz")
    prefix = f"{tmp_path}/s_"
    config = CONFIG.format(prefix=prefix) + VARIABLE.format(address=tmp_path / "cv")
    (tmp_path / "forceserver.toml").write_text(config)
    (tmp_path / "input.xml").write_text(INPUT.format(prefix=prefix))
    variable = f"LOAD FILE={action}\nv: FORCESERVER ADDRESS={tmp_path}/cv CV=v\n"
    (tmp_path / "plumed.dat").write_text(variable + PLUMED_DAT.replace("ARG=d", "ARG=v.x") + "FLUSH STRIDE=1\n")
    command = [sys.executable, "-m", "forceserver"]
    check = subprocess.run(
        [*command, "check", "forceserver.toml"], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert check.returncode == 0, check.stdout
    assert not check.stderr
    launch = subprocess.Popen([*command, "launch", "forceserver.toml"], cwd=tmp_path, env=environment())
    out = tmp_path / "sim.out"
    deadline = time.monotonic() + 120
    while not out.exists() or out.read_text().count("\n") < 20:
        assert launch.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed: set[int] = set()
    while len(killed) < 3:  # the second and the third before they are open
        for server in set(cv_servers(launch.pid)) - killed:
            os.kill(server, signal.SIGKILL)
            killed.add(server)
        assert launch.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert launch.wait(180) == 0
    assert "the CV server is open" in (tmp_path / "cv-server.log").read_text()
    assert np.loadtxt(out)[:, 0].tolist() == list(range(101))
    np.testing.assert_allclose(np.loadtxt(tmp_path / "HILLS", usecols=0), np.arange(5, 101, 5), rtol=1e-6)
    assert not (tmp_path / "cv").exists()
