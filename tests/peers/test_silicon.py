"""Silicon (Stillinger-Weber) under i-PI: LAMMPS behind our driver, and LAMMPS as i-PI's own client (`fix ipi`).

Both convert between the same units with factors of their own; those of `fix ipi` have eight digits.
"""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from ipi_runs import BIN, ended, free_port, start, wait_for_server

from forceserver.errors import InputError
from forceserver.potentials.lammps import load_library

try:
    load_library()  # sets LAMMPS_POTENTIALS, for the program, too
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

XML = """<simulation verbosity='low' floatformat='%25.17e'>
  <output prefix='out'>
    <properties stride='1' filename='properties'>
      [ step, potential{{electronvolt}}, kinetic_md{{electronvolt}}, conserved{{electronvolt}},
        pressure_md{{gigapascal}} ]
    </properties>
  </output>
  <total_steps>20</total_steps>
  <prng><seed>31415</seed></prng>
  <ffsocket name='si' mode='inet' pbc='False'>
    <address>127.0.0.1</address><port>{port}</port><latency>0</latency>
  </ffsocket>
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> si.xyz </file>
      <velocities mode='thermal' units='kelvin'> 600 </velocities>
    </initialize>
    <forces><force forcefield='si'/></forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> 1 </timestep>
        <thermostat mode='pile_g'><tau units='femtosecond'> 100 </tau></thermostat>
      </dynamics>
    </motion>
  </system>
</simulation>
"""

CONFIG = """
[structure]
file = "si.xyz"
[potential]
kind = "lammps"
species = ["Si"]
commands = ["pair_style sw", "pair_coeff * * Si.sw Si"]
[socket]
mode = "inet"
address = "127.0.0.1"
port = {port}
"""

LAMMPS_INPUT = """
units metal
atom_style atomic
atom_modify map array sort 0 0
read_data si.data
pair_style sw
pair_coeff * * Si.sw Si
fix 1 all ipi 127.0.0.1 {port}
run 1000000
"""


def run(folder, repeat: int, beads: int, peer: bool) -> np.ndarray:
    """Twenty steps of 8 * repeat**3 atoms; the properties of each."""
    folder.mkdir()
    port = free_port()
    atoms = bulk("Si", cubic=True) * (repeat, repeat, repeat)
    atoms.rattle(0.1, seed=4)
    write(folder / "si.xyz", atoms, format="extxyz")
    write(folder / "si.data", atoms, format="lammps-data", masses=True)
    (folder / "input.xml").write_text(XML.format(port=port, beads=beads))
    (folder / "forceserver.toml").write_text(CONFIG.format(port=port))
    (folder / "in.lammps").write_text(LAMMPS_INPUT.format(port=port))
    with ended(start(folder, "ipi", str(BIN / "i-pi"), "input.xml")) as processes:
        ipi = processes[0]
        if peer:
            wait_for_server(folder, ipi)
            processes.append(start(folder, "driver", str(BIN / "lmp"), "-in", "in.lammps", "-log", "none"))
        else:
            processes.append(start(folder, "driver", "-m", "forceserver", "drive", "forceserver.toml"))
        assert ipi.wait(120) == 0, (folder / "ipi.log").read_text()
        assert peer or processes[1].wait(30) == 0, (folder / "driver.log").read_text()
    return np.loadtxt(folder / "out.properties")


@pytest.mark.long
@pytest.mark.parametrize(("repeat", "beads"), [(2, 4), (4, 1)])
def test_lammps_behind_our_driver_is_lammps_as_driver(tmp_path, repeat, beads):
    ours, theirs = run(tmp_path / "ours", repeat, beads, False), run(tmp_path / "theirs", repeat, beads, True)
    assert len(theirs) == 21
    np.testing.assert_allclose(ours[:, :4], theirs[:, :4], rtol=1e-7)  # measured 1e-8
    np.testing.assert_allclose(ours[:, 4], theirs[:, 4], rtol=2e-6)  # measured 1.5e-7
