"""Small inputs for the commands: aluminium with ASE's EMT, in a folder of its own, with sockets of its own."""

import contextlib
import io
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ase.build import bulk

from forceserver.cli import main

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

    def run_here(self, *arguments: object) -> subprocess.CompletedProcess:
        """The same in this process, which has imported everything already."""
        logger = logging.getLogger("forceserver")
        before = logger.handlers[:], logger.level, logger.propagate
        code, out, err = 0, io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.chdir("/")
            patch.setattr(sys, "argv", ["forceserver", *map(str, arguments)])
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        logger.handlers[:], logger.level, logger.propagate = before
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.fixture
def aluminium(tmp_path: Path) -> Case:
    """32 atoms of aluminium, 5 steps of NVE over a unix socket."""
    atoms = bulk("Al", cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=1)
    atoms.write(tmp_path / "al.extxyz")
    case = Case(tmp_path)
    case.write_config()
    case.write_simulation()
    return case
