"""Small inputs for the commands: aluminium with ASE's EMT, in a folder of its own, with sockets of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ase.build import bulk
from proc import kill_family
from program import run_here

CONFIG = """
[structure]
file = "al.extxyz"

[potential]
kind = "ase"
calculator = "ase.calculators.emt.EMT"

[socket]
mode = "unix"
address = "al"
prefix = "{prefix}"

[simulation]
input = "input.xml"
"""

SIMULATION = """
<simulation verbosity='low' threading='False' sockets_prefix='{prefix}'>
  <output prefix='sim'>
    <properties stride='1' filename='out'>
      [ step, time{{picosecond}}, conserved{{electronvolt}}, temperature{{kelvin}}, potential{{electronvolt}} ]
    </properties>
    <trajectory filename='pos' stride='1' format='xyz' cell_units='angstrom'> positions{{angstrom}} </trajectory>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>31415</seed></prng>
  {forcefield}
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> al.extxyz </file>
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

SOCKET = "<ffsocket name='al' mode='unix'><address>al</address><latency>0</latency></ffsocket>"


@dataclass
class Case:
    """A folder with a configuration, a structure and an input of i-PI that fit together."""

    folder: Path
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "forceserver.toml"

    @property
    def prefix(self) -> str:
        """Of the names of sockets: short, since they may have no more than 107 characters."""
        return f"{self.folder}/s_"

    def write_config(self, old: str = "", new: str = "") -> None:
        text = CONFIG.format(prefix=self.prefix)
        assert old in text
        self.config.write_text(text.replace(old, new) if old else text)

    def write_simulation(
        self, steps: int = 5, beads: int = 1, forcefield: str = SOCKET, old: str = "", new: str = ""
    ) -> None:
        text = SIMULATION.format(steps=steps, beads=beads, prefix=self.prefix, forcefield=forcefield)
        assert old in text
        (self.folder / "input.xml").write_text(text.replace(old, new) if old else text)

    def run(self, *arguments: object, timeout: float = 120) -> subprocess.CompletedProcess:
        """Runs the program in another working directory: paths are relative to the configuration."""
        return subprocess.run(
            [sys.executable, "-m", "forceserver", *map(str, arguments)],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, *arguments: object, command: str = "launch", **environment: str) -> subprocess.Popen:
        """Starts it, and lets it run until the end of the test at most."""
        process = subprocess.Popen(
            [sys.executable, "-m", "forceserver", command, str(self.config), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        self.started.append(process)
        return process

    def rows(self) -> list[str]:
        """The lines of the properties so far, but for the last, which may not be complete."""
        path = self.folder / "sim.out"
        lines = path.read_text().splitlines()[:-1] if path.exists() else []
        return [line for line in lines if not line.startswith("#")]

    def run_here(self, *arguments: object) -> subprocess.CompletedProcess:
        """The same in this process."""
        return run_here(*arguments)


@pytest.fixture
def aluminium(tmp_path: Path) -> Iterator[Case]:
    """32 atoms of aluminium, 5 steps of NVE over a unix socket."""
    atoms = bulk("Al", cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=1)
    atoms.write(tmp_path / "al.extxyz")
    case = Case(tmp_path)
    case.write_config()
    case.write_simulation()
    yield case
    for process in case.started:
        kill_family(process)
