"""Runs of `plumed driver` for the tests."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from polarization import TOML

from forceserver.bias.plumed.kernel import find_program, program_environment


def write_config(path: Path, address: Path) -> None:
    """A configuration that serves the variable of `polarization.py` at `address`."""
    path.write_text(f'{TOML}\n[cv_server]\naddress = "{address}"\n')


def start(config):
    """A server process, once it listens."""
    command = [sys.executable, "-m", "forceserver", "drive", str(config)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    for line in server.stderr:
        if "the CV server is open" in line:
            return server
    raise RuntimeError(f"the server ended with {server.wait()}")


def write_xyz(path: Path, frames) -> None:
    """Frames as `plumed driver --ixyz` reads them: the cell in the comment, with all digits."""
    with open(path, "w") as file:
        for atoms in frames:
            file.write(f"{len(atoms)}\n{' '.join(f'{x:.15g}' for x in atoms.cell.array.ravel())}\n")
            for symbol, position in zip(atoms.symbols, atoms.positions, strict=True):
                file.write(f"{symbol} {' '.join(f'{x:.15g}' for x in position)}\n")


def driver(folder: Path, plumed_dat: str, frames, *options: str, ranks: int = 0) -> subprocess.CompletedProcess:
    """`plumed driver` on frames (ASE `Atoms`, Angstrom), in `folder`; with MPI if `ranks` is not 0.

    Further files of frames for replicas (frames.0.xyz, ...) may lie there already.
    """
    write_xyz(folder / "frames.xyz", frames)
    (folder / "plumed.dat").write_text(plumed_dat)
    launcher = ["mpiexec", "-n", str(ranks), find_program()] if ranks else [find_program(), "--no-mpi"]
    command = [*launcher, "driver", "--plumed", "plumed.dat", "--ixyz", "frames.xyz", "--length-units", "A"]
    return subprocess.run(
        [*command, *options],
        cwd=folder,
        env=program_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def has_mpi() -> bool:
    """Whether PLUMED was built with MPI and mpiexec starts it."""
    if not shutil.which("mpiexec"):
        return False
    commands = [[find_program(), "--no-mpi", "config", "-q", "has", "mpi"]]
    commands.append(["mpiexec", "-n", "2", find_program(), "--has-mpi"])
    return all(
        subprocess.run(command, env=program_environment(), capture_output=True).returncode == 0 for command in commands
    )


def hills_sum(at, hills, sigma):
    """PLUMED's bias of hills (centre, height) at a point: Gaussians, cut where the exponent is 6.25 and stretched."""
    total, cut = 0.0, np.exp(-6.25)
    for centre, height in hills:
        exponent = 0.5 * np.sum(((at - centre) / sigma) ** 2)
        if exponent < 6.25:
            total += height * (np.exp(-exponent) - cut) / (1 - cut)
    return total


class Proxy:
    """Passes connections through to a server at `target` (host, port); itself at 127.0.0.1, port `port`.

    The first connection is broken after `limit` bytes to the client; after `most` of them nobody is let in any more.
    `connections` counts them.
    """

    def __init__(self, target: tuple[str, int], limit: int = 1 << 40, most: int = 1 << 40) -> None:
        self.connections = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(limit, most), daemon=True).start()

    def _accept(self, limit: int, most: int) -> None:
        with self._listener:
            while self.connections < most:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self.connections += 1
                for arguments in (
                    (client, server, 1 << 40),
                    (server, client, limit if self.connections == 1 else 1 << 40),
                ):
                    threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, left: int) -> None:
        with contextlib.suppress(OSError):
            while left > 0 and (data := source.recv(min(65536, left))):
                sink.sendall(data)
                left -= len(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def version() -> tuple[int, ...]:
    """The version of PLUMED, such as (2, 10)."""
    command = [find_program(), "--no-mpi", "info", "--version"]
    said = subprocess.run(command, env=program_environment(), capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.split("."))


def table(path: Path) -> dict[str, np.ndarray]:
    """The columns of a PLUMED file by name."""
    with open(path) as file:
        fields = file.readline().split()[2:]
    return dict(zip(fields, np.loadtxt(path, ndmin=2).T, strict=True))
