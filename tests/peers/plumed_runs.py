"""Runs of `plumed driver` for the tests."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from forceserver.bias.plumed_kernel import find_program, program_environment

CONFIG = """
[structure]
file = "batio3.extxyz"

[cv_door]
address = "{address}"

[[cv]]
name = "polarization"
centres = "Ti"
neighbours = "O"
weights = [0.7, 0.3]

[cv.basis]
kind = "gto"
n_max = 2
l_max = 1
cutoff = {{ cutoff_angstrom = 3.0, width_angstrom = 0.5 }}
density = {{ kind = "gaussian", sigma_angstrom = 0.4 }}
"""


def start(config):
    """A server process, once its door is open."""
    command = [sys.executable, "-m", "forceserver", "drive", str(config)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    for line in server.stderr:
        if "the CV door is open" in line:
            return server
    raise RuntimeError(f"the server ended with {server.wait()}")


def write_xyz(path: Path, frames) -> None:
    """Frames as `plumed driver --ixyz` reads them: the cell in the comment, with all digits."""
    with open(path, "w") as file:
        for atoms in frames:
            file.write(f"{len(atoms)}\n{' '.join(f'{x:.15g}' for x in atoms.cell.array.ravel())}\n")
            for symbol, position in zip(atoms.symbols, atoms.positions, strict=True):
                file.write(f"{symbol} {' '.join(f'{x:.15g}' for x in position)}\n")


def driver(folder: Path, plumed_dat: str, frames, *options: str) -> subprocess.CompletedProcess:
    """`plumed driver` on frames (ASE `Atoms`, Angstrom), in `folder`."""
    write_xyz(folder / "frames.xyz", frames)
    (folder / "plumed.dat").write_text(plumed_dat)
    command = [find_program(), "--no-mpi", "driver", "--plumed", "plumed.dat", "--ixyz", "frames.xyz"]
    return subprocess.run(
        [*command, "--length-units", "A", *options],
        cwd=folder,
        env=program_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


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
