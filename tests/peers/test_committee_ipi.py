"""i-PI's own committee of three single potentials, and ours of the same three behind one socket with `parse_json`.

TCP, because i-PI 3.3.1 does not give its `sockets_prefix` to the sockets inside a committee.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from ipi_runs import BIN, ended, free_port

POTENTIAL = """
kind = "pair"
interactions = [
    {{ form = "lennard_jones", species = ["Al", "Al"], epsilon_ev = {epsilon}, sigma_angstrom = {sigma}, \
cutoff_angstrom = 6.0, smoothing_angstrom = 2.0 }},
]
"""
MEMBERS = [
    POTENTIAL.format(epsilon=epsilon, sigma=sigma) for epsilon, sigma in ((0.30, 2.5), (0.25, 2.6), (0.35, 2.55))
]
COMMITTEE = 'kind = "committee"\n' + "".join("[[potential.members]]" + member for member in MEMBERS)

XML = """<simulation verbosity='low' floatformat='%25.17e'>
  <output prefix='out'>
    <properties stride='1' filename='properties'> [ step, conserved, potential, pressure_cv, volume ] </properties>
    <trajectory stride='1' filename='members' extra_type='committee_pot' format='xyz'> extras </trajectory>
    <trajectory stride='1' filename='spread' extra_type='committee_uncertainty' format='xyz'> extras </trajectory>
  </output>
  <total_steps>20</total_steps>
  <prng><seed>31415</seed></prng>
  <ffcommittee name='committee' pbc='False'>{sockets}
    <parse_json>{parse}</parse_json>
  </ffcommittee>
  <system>
    <initialize nbeads='2'>
      <file mode='ase'> al.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='committee'/></forces>
    <ensemble>
      <temperature units='kelvin'> 300 </temperature><pressure units='gigapascal'> 1 </pressure>
    </ensemble>
    <motion mode='dynamics'>
      <dynamics mode='npt'>
        <timestep units='femtosecond'> 1 </timestep>
        <thermostat mode='pile_g'><tau units='femtosecond'>100</tau></thermostat>
        <barostat mode='isotropic'>
          <tau units='femtosecond'>200</tau>
          <thermostat mode='langevin'><tau units='femtosecond'>100</tau></thermostat>
        </barostat>
      </dynamics>
    </motion>
  </system>
</simulation>
"""


def run(folder: Path, potentials: list[str]) -> dict[str, np.ndarray]:
    """Twenty steps at constant pressure with one client for each potential; what i-PI wrote."""
    folder.mkdir()
    atoms = bulk("Al", cubic=True) * 2
    atoms.rattle(0.05, seed=3)
    write(folder / "al.xyz", atoms, format="extxyz")
    ports = [free_port() for _ in potentials]
    sockets = "".join(
        f"<ffsocket name='m{k}' mode='inet'><address>127.0.0.1</address><port>{port}</port></ffsocket>"
        for k, port in enumerate(ports)
    )
    (folder / "input.xml").write_text(XML.format(sockets=sockets, parse=len(potentials) == 1))
    for k, potential in enumerate(potentials):
        (folder / f"m{k}.toml").write_text(
            f'structure.file = "al.xyz"\nsocket = {{ mode = "inet", address = "127.0.0.1", port = {ports[k]} }}\n'
            f"[potential]{potential}"
        )
    with open(folder / "log", "w") as log, ended() as processes:
        commands = [[BIN / "i-pi", "input.xml"]]
        commands += [[sys.executable, "-m", "forceserver", "drive", f"m{k}.toml"] for k in range(len(potentials))]
        processes += [subprocess.Popen(list(map(str, c)), cwd=folder, stdout=log, stderr=log) for c in commands]
        codes = [process.wait(120) for process in processes]
    assert codes == [0] * len(codes), (folder / "log").read_text()
    data = {"properties": np.loadtxt(folder / "out.properties")}
    for name in ("members", "spread"):
        data[name] = np.array([np.loadtxt(path) for path in sorted(folder.glob(f"out.{name}_*"))])
    return data


@pytest.mark.long
def test_one_socket_is_three(tmp_path):
    one, three = run(tmp_path / "one", ["\n" + COMMITTEE]), run(tmp_path / "three", MEMBERS)
    assert three["members"].shape == (2, 21, 3)
    for name in three:
        np.testing.assert_allclose(one[name], three[name], rtol=1e-10, atol=1e-12)
    assert np.ptp(three["members"], axis=2).min() > 1e-3, "the members differ"
