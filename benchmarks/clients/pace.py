"""The PACE evaluators of ICAMS as a peer: `python -m benchmarks.clients.pace SOURCES LIBRARY` compiles them.

SOURCES is a checkout of github.com/ICAMS/lammps-user-pace, LIBRARY the shared library that is made of it (minutes).
"""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list

SOURCE = Path(__file__).with_suffix(".cpp")


def compile_peer(sources: Path, library: Path) -> None:
    """Compiles the evaluators and what stands between them and us."""
    compiler = (os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or "c++").split()
    evaluator, yaml = sources / "ML-PACE" / "ace-evaluator", sources / "yaml-cpp"
    includes = [f"-I{path}" for path in (sources / "ML-PACE", yaml / "include")]
    flags = ["-std=c++14", "-O3", "-march=native", "-fPIC", "-w", *includes]
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for number, source in enumerate(
            [SOURCE, *sorted(evaluator.glob("*.cpp")), *sorted((yaml / "src").glob("*.cpp"))]
        ):
            objects.append(str(Path(folder) / f"{number}.o"))
            subprocess.run([*compiler, *flags, "-c", str(source), "-o", objects[-1]], check=True)
        subprocess.run([*compiler, "-shared", "-o", str(library), *objects], check=True)


class Peer:
    """A potential of a .yace or .ace file in the evaluators of ICAMS.

    recursive: as in `pair_style pace recursive`. `ValueError` if the file cannot be read.
    """

    def __init__(self, library: str | Path, path: str | Path, *, recursive: bool = False) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.pace_load.restype = ctypes.c_void_p
        self._library.pace_cutoff.restype = self._library.pace_compute.restype = ctypes.c_double
        found = self._library.pace_load(str(path).encode(), int(recursive))
        if not found:
            raise ValueError(f"{path}: cannot be read by the peer")
        self._handle = ctypes.c_void_p(found)
        text = ctypes.create_string_buffer(1000)
        self._library.pace_elements(self._handle, text, len(text))
        self.elements = text.value.decode().split()
        self.cutoff = float(self._library.pace_cutoff(self._handle))

    def compute(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Energies (n,) of the atoms, forces, virial (eV, Angstrom), and the CPU seconds without neighbour lists."""
        n = len(atoms)
        i, j, shift = primitive_neighbor_list("ijS", atoms.pbc, atoms.cell, atoms.positions, self.cutoff + 1e-6)
        away = np.any(shift != 0, axis=1)
        images, inverse = np.unique(np.column_stack([j, shift])[away], axis=0, return_inverse=True)
        index = j.copy()
        index[away] = n + inverse.ravel()
        owner = np.concatenate([np.arange(n), images[:, 0]]).astype(int)
        x = atoms.positions[owner] + np.concatenate([np.zeros((n, 3)), images[:, 1:]]) @ atoms.cell.array
        symbols = atoms.get_chemical_symbols()
        arrays: dict[str, Any] = {
            "x": np.ascontiguousarray(x),
            "type": np.array([self.elements.index(symbols[k]) for k in owner], dtype=np.int32),
            "first": np.searchsorted(i, np.arange(n + 1)).astype(np.int32),
            "list": np.ascontiguousarray(index, dtype=np.int32),
            "energies": np.zeros(n),
            "forces": np.zeros((len(x), 3)),
            "virial": np.zeros((3, 3)),
        }
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in arrays.values())
        seconds = self._library.pace_compute(self._handle, n, len(x), *pointers)
        forces = np.zeros((n, 3))
        np.add.at(forces, owner, arrays["forces"])
        return arrays["energies"], forces, arrays["virial"], float(seconds)


if __name__ == "__main__":
    compile_peer(Path(sys.argv[1]), Path(sys.argv[2]))
