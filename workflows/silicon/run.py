"""Fits the models of this folder, runs the simulations with that of silicon.toml, and prints what came out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from ase.build import bulk

sys.path.insert(0, str(Path(__file__).parents[1]))
from paired_times import microseconds

from forceserver.analysis.blocks import error_of_mean
from forceserver.files import write_json
from forceserver.frame import Frame
from forceserver.potentials.model_files import load_model, potential_of

BLOCKS = 10
KERNEL_MODELS = ("gap_fit", "silicon", "two_scales", "contracted")
EXPANSIONS = ("ace", "ace_angular", "ace_chosen", "ace_nonlinear")

HERE = Path(__file__).parent
ERRORS = HERE / "errors.json"


def forceserver(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "forceserver", *arguments], cwd=HERE, check=True)


def fits() -> None:
    """Fits, and keeps the errors on the test structures, from which the pages have their numbers, in errors.json."""
    for name in (*KERNEL_MODELS, *EXPANSIONS):
        forceserver("fit", f"{name}.toml")
        keep({name: json.loads((HERE / "results" / name / "errors.json").read_text())["test"]["(all)"]})


def times() -> None:
    """Keeps microseconds of CPU time per atom of 216 atoms, medians of calls of one model after the other."""
    models = {name: load_model(HERE / f"{name}.npz") for name in KERNEL_MODELS}
    potentials = {name: potential_of(model) for name, model in models.items()}
    taken = microseconds(potentials, Frame.of(bulk("Si", cubic=True) * (3, 3, 3)))
    keep({"microseconds per atom": {name: float(np.median(of)) for name, of in taken.items()}})


def keep(results: dict) -> None:
    print(results)
    write_json(ERRORS, (json.loads(ERRORS.read_text()) if ERRORS.exists() else {}) | results)


def column(name: str, number: int) -> np.ndarray:
    return np.loadtxt(HERE / f"{name}.out")[:, number]


def simulations() -> None:
    for name in ("nve", "nve_ace", "npt", "pimd"):
        forceserver("launch", f"{name}.toml", "--threads", "1")
    print("\n".join(results()))


def nve(name: str) -> str:
    """The drift of the conserved energy."""
    time, conserved = column(name, 1), column(name, 4)
    drift = 1e3 * np.polyfit(time, conserved, 1)[0] / 64
    return (
        f"NVE, {column(name, 2)[10:].mean():.0f} K, {time[-1]:.0f} ps: drift {drift:.2e} meV/atom/ps, fluctuation "
        f"{1e3 * conserved.std() / 64:.3f} meV/atom"
    )


def results() -> list[str]:
    """A line for each simulation, of the files that i-PI has written."""
    lines = [nve("nve"), f"the same with the cluster expansion: {nve('nve_ace')}"]
    lattice = np.cbrt(column("npt", 3)[len(column("npt", 3)) // 5 :] / 8)
    lines.append(f"NPT, 300 K: lattice constant {lattice.mean():.4f} ± {error_of_mean(lattice, BLOCKS):.4f} Angstrom")
    kinetic = column("pimd", 3)[len(column("pimd", 3)) // 4 :] / 64 * 1e3
    lines.append(
        f"PIMD, 8 beads, 300 K: kinetic energy {kinetic.mean():.2f} ± {error_of_mean(kinetic, BLOCKS):.2f} meV/atom "
        "(classically 38.78)"
    )
    return lines


if __name__ == "__main__":
    fits()
    times()
    if "--fits" not in sys.argv[1:]:
        simulations()
