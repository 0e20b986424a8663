"""i-PI with PLUMED inside, killed and started again under `launch`: each hill once."""

import os
import signal
import subprocess
import sys
import time

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


@pytest.mark.parametrize("flushed", [True, False])
def test_tables_of_plumed_are_cut_and_what_is_missing_is_said(tmp_path, flushed):
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.write(tmp_path / "al.extxyz")
    prefix = f"{tmp_path}/s_"
    (tmp_path / "forceserver.toml").write_text(CONFIG.format(prefix=prefix))
    (tmp_path / "input.xml").write_text(INPUT.format(prefix=prefix))
    (tmp_path / "plumed.dat").write_text(PLUMED_DAT + "FLUSH STRIDE=1\n" * flushed)
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
    assert ("HILLS is empty, the state is of step 50" in run.stderr) == (not flushed)
    times = {name: np.loadtxt(tmp_path / name, usecols=0) for name in ("HILLS", "COLVAR")}
    if flushed:
        np.testing.assert_allclose(times["HILLS"], np.arange(5, 101, 5), rtol=1e-6)
        np.testing.assert_allclose(times["COLVAR"], np.arange(1, 101), rtol=1e-6)
    np.testing.assert_array_equal(np.loadtxt(out, usecols=0), np.arange(101))
