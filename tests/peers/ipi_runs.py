"""Runs i-PI with drivers, and reads what came out."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import write
from ase.units import Bohr

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def aluminium(repeat: int = 2, triclinic: bool = False) -> Atoms:
    """A rattled fcc cell of 4 * repeat**3 atoms, strained to a triclinic one (upper triangular as i-PI wants it)."""
    atoms = bulk("Al", cubic=True) * (repeat, repeat, repeat)
    if triclinic:
        cell = atoms.cell.array.copy()
        cell[1, 0], cell[2, 0], cell[2, 1] = 0.9, -0.6, 0.7
        atoms.set_cell(cell, scale_atoms=True)
    atoms.rattle(0.08, seed=5)
    return atoms


def write_ipi_xyz(path: Path, atoms: Atoms) -> None:
    """A structure in i-PI's own format, in atomic units, with all digits."""
    cell = " ".join(f"{x:.17g}" for x in (atoms.cell.array.T / Bohr).ravel())
    lines = [str(len(atoms)), f"# CELL(H): {cell} cell{{atomic_unit}} positions{{atomic_unit}}"]
    for symbol, position in zip(atoms.symbols, atoms.positions / Bohr, strict=True):
        lines.append(" ".join([symbol, *(f"{x:.17g}" for x in position)]))
    path.write_text("\n".join(lines) + "\n")


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start(folder: Path, name: str, *script: str) -> subprocess.Popen:
    """A Python program in its own session, working in `folder`; what it prints goes to `name`.log there."""
    environment = {**os.environ, **THREADS, "PYTHONUNBUFFERED": "1"}
    with open(folder / f"{name}.log", "a") as log:
        return subprocess.Popen(
            [sys.executable, *script], cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def wait_for_server(folder: Path, ipi: subprocess.Popen, seconds: float = 60) -> None:
    """Returns when i-PI, started in `folder`, listens; other clients than ours do not wait by themselves."""
    deadline = time.monotonic() + seconds
    while "Starting the polling thread" not in (said := (folder / "ipi.log").read_text(errors="replace")):
        assert ipi.poll() is None, f"i-PI has ended:\n{said}"
        assert time.monotonic() < deadline, f"i-PI does not listen:\n{said}"
        time.sleep(0.02)


@dataclass
class Ipi:
    """One i-PI simulation of aluminium in a folder, and the drivers that belong to it.

    dynamics: "nve", "nvt", "npt" or "nst" of i-PI.
    mode: of the socket; the unix sockets live in the folder.
    """

    folder: Path
    dynamics: str = "nve"
    beads: int = 1
    steps: int = 10
    mode: str = "unix"
    batch: int = 1
    consolidate: bool = True
    triclinic: bool = False
    parameters: str = ""
    repeat: int = 2

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port() if self.mode == "inet" else None
        self.template = self.folder / "init.xyz"
        self.prefix = f"{self.folder}/s_"  # unix sockets in the folder of the test
        if len(self.prefix) > 90:
            self.prefix = f"/tmp/fs_{os.getpid()}_{abs(hash(str(self.folder))) % 10**8}_"
        self.address = "127.0.0.1" if self.mode == "inet" else "sock"
        self._atoms = atoms = aluminium(self.repeat, self.triclinic)
        write(self.template, atoms, format="extxyz")
        write_ipi_xyz(self.folder / "ipi.xyz", atoms)
        (self.folder / "input.xml").write_text(self._xml())

    def _xml(self) -> str:
        socket_keys = f"<address>{self.address}</address>"
        if self.port is not None:
            socket_keys += f"<port>{self.port}</port>"
        if self.batch > 1:
            socket_keys += f"<batch_size>{self.batch}</batch_size>"
        if self.parameters:
            socket_keys += f"<parameters>{self.parameters}</parameters>"
        if not self.consolidate:
            socket_keys += "<consolidate_messages>False</consolidate_messages>"
        return f"""<simulation verbosity='low' floatformat='%25.17e' sockets_prefix='{self.prefix}'>
  <output prefix='out'>
    <properties stride='1' filename='properties'>
      [ step, conserved, potential, kinetic_cv, volume, virial_cv{{atomic_unit}} ]
    </properties>
    <trajectory stride='1' filename='pos' format='xyz'> positions{{atomic_unit}} </trajectory>
  </output>
  <total_steps>{self.steps}</total_steps>
  <prng><seed>31415</seed></prng>
  <ffsocket name='driver' mode='{self.mode}' pbc='False'>{socket_keys}<latency>1e-4</latency></ffsocket>
  <system>
    <initialize nbeads='{self.beads}'>
      <file mode='xyz'> ipi.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='driver'/></forces>
    <motion mode='dynamics'>
      <dynamics mode='{self.dynamics}'>
        <timestep units='femtosecond'> 1 </timestep>
        {self._baths()}
      </dynamics>
    </motion>
    <ensemble>
      <temperature units='kelvin'> 300 </temperature>
      {self._stress()}
    </ensemble>
  </system>
</simulation>
"""

    def _baths(self) -> str:
        tau = "<tau units='femtosecond'>50</tau>"
        if self.dynamics == "nve":
            return ""
        thermostat = f"<thermostat mode='pile_l'>{tau}<pile_lambda>0.5</pile_lambda></thermostat>"
        if self.dynamics == "nvt":
            return thermostat
        piston = f"<thermostat mode='langevin'>{tau}</thermostat>"
        if self.dynamics == "npt":
            return f"<barostat mode='isotropic'>{tau}{piston}</barostat>{thermostat}"
        h0 = ",".join(f"{x:.17g}" for x in (self._atoms.cell.array.T / Bohr).ravel())
        return f"<barostat mode='anisotropic'>{tau}{piston}<h0 shape='(3,3)'>[{h0}]</h0></barostat>{thermostat}"

    def _stress(self) -> str:
        return {
            "npt": "<pressure units='gigapascal'>1</pressure>",
            "nst": "<stress units='gigapascal'>[1,0.3,0.2,0.3,1,0.1,0.2,0.1,1]</stress>",
        }.get(self.dynamics, "")

    def start_ipi(self) -> subprocess.Popen:
        """i-PI, without drivers."""
        return start(self.folder, "ipi", str(BIN / "i-pi"), "input.xml")

    def start_driver(self, name: str = "driver", *options: str) -> subprocess.Popen:
        """Our driver."""
        where = ["--mode", self.mode, "--address", self.address, "--prefix", self.prefix]
        if self.port is not None:
            where += ["--port", str(self.port)]
        return start(self.folder, name, str(HERE / "emt_driver.py"), str(self.template), *where, *options)

    def start_ipi_driver(self) -> subprocess.Popen:
        """i-PI's own Python driver with the same calculator."""
        where = ["-a", self.address, "-S", self.prefix]
        where += {"inet": ["-p", str(self.port)], "unix": ["-u"], "shm": ["--shm"]}[self.mode]
        pes = ["-m", "custom", "-P", str(HERE / "emt_pes.py"), "-o", f"template={self.template}"]
        return start(self.folder, "peer", str(BIN / "i-pi-driver-py"), *where, *pes)

    def log(self, name: str) -> str:
        """What a process has printed so far."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def run(self, clients: int = 1, peer: bool = False, timeout: float = 120) -> "Trajectory":
        """The whole simulation with `clients` drivers of ours, or with i-PI's own one; all must end cleanly."""
        with ended(self.start_ipi()) as processes:
            ipi = processes[0]
            if peer:
                wait_for_server(self.folder, ipi)
                processes.append(self.start_ipi_driver())
            else:
                processes += [self.start_driver() for _ in range(clients)]
            assert ipi.wait(timeout) == 0, self.log("ipi")
            codes = [process.wait(30) for process in processes[1:]]
            assert peer or codes == [0] * clients, self.log("driver")
        return self.trajectory()

    def trajectory(self) -> "Trajectory":
        """What i-PI has written."""
        properties = np.atleast_2d(np.loadtxt(self.folder / "out.properties"))
        positions, cells = [], []
        for path in sorted(self.folder.glob("out.pos_*.xyz")):
            text = path.read_text()
            cells.append([[float(x) for x in line.split()[:6]] for line in re.findall(r"CELL\(abcABC\): (.*)", text)])
            atoms = [line.split()[1:4] for line in text.splitlines() if line.lstrip().startswith("Al ")]
            positions.append(np.array(atoms, float).reshape(len(cells[-1]), -1, 3))
        return Trajectory(properties, np.array(positions), np.array(cells[0]))


@dataclass
class Trajectory:
    """properties: (steps, columns); positions: (beads, steps, atoms, 3) in bohr; cells: (steps, 6)."""

    properties: np.ndarray
    positions: np.ndarray
    cells: np.ndarray

    def difference(self, other: "Trajectory") -> float:
        """Largest relative difference of anything."""
        return max(
            float(np.max(np.abs(mine - theirs) / (1.0 + np.abs(theirs))))
            for mine, theirs in (
                (self.properties, other.properties),
                (self.positions, other.positions),
                (self.cells, other.cells),
            )
        )


@contextlib.contextmanager
def ended(*processes: subprocess.Popen) -> Iterator[list[subprocess.Popen]]:
    """Kills what is left of the processes (and of those added to the list) at the end."""
    running = list(processes)
    try:
        yield running
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with the children that it may have
            process.wait()
