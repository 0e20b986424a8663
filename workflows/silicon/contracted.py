"""Compares contracted.toml with two_scales.toml: errors of the test structures, and time per atom.

`python contracted.py --every 4 --points 300` wrote contracted.json. With --every 1 and without --points these are the
models of the files, which takes minutes. Times are medians of CPU times of pairs of evaluations, one of each model
after the other.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import read, write

from forceserver._ext import cpu
from forceserver.analysis.parity import ENERGY, FORCE
from forceserver.files import write_json
from forceserver.fit import config, report, run
from forceserver.frame import Frame
from forceserver.potentials.gap import GapPotential

HERE = Path(__file__).parent
NAMES = ("two_scales", "contracted")
PAIRS = 41


def fitted(name: str, folder: Path, points: int | None) -> run.Fit:
    """The fit of a file to the structures in a folder, with fewer sparse points if that is asked for."""
    given = config.load(HERE / f"{name}.toml")
    data = given.data.model_copy(update={"train": folder / "train.extxyz"})
    descriptors = [d.model_copy(update={"n_sparse": points or d.n_sparse}) for d in given.descriptors]
    changes = {"data": data, "descriptors": descriptors, "output": folder / f"{name}.npz", "report": None}
    return run.fit(given.model_copy(update=changes))


def times(fits: dict[str, run.Fit]) -> dict[str, float]:
    """Microseconds per atom of energy, forces and virial of 216 atoms on one thread, and their ratio."""
    cpu.set_threads(1)
    potentials = {name: GapPotential(fit.model) for name, fit in fits.items()}
    frame = Frame.of(bulk("Si", cubic=True) * (3, 3, 3))
    at_rest, rng = frame.positions.copy(), np.random.default_rng(0)
    taken: dict[str, list[float]] = {name: [] for name in potentials}
    for _ in range(PAIRS):
        frame.positions[:] = at_rest + rng.normal(scale=0.01, size=at_rest.shape)
        for name, potential in potentials.items():
            start = time.process_time()
            potential.compute_one(frame)
            taken[name].append(1e6 * (time.process_time() - start) / len(frame))
    ratio = np.median(np.array(taken[NAMES[1]]) / np.array(taken[NAMES[0]]))
    return {name: float(np.median(of)) for name, of in taken.items()} | {"ratio": float(ratio)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="train with every so many structures")
    parser.add_argument("--points", type=int, help="sparse points of each power spectrum, if fewer than in the files")
    arguments = parser.parse_args()
    structures = read(HERE / "Si_training.extxyz", f"::{arguments.every}")
    found: dict = {"structures": len(structures), "points": arguments.points}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "train.extxyz", structures)
        fits = {name: fitted(name, folder, arguments.points) for name in NAMES}
    for name, fit in fits.items():
        errors = report.compare(fit.model, fit.test).groups["(all)"]
        found[name] = {
            "features": [len(term.features) for term in fit.model.soap],
            "energy_mev_per_atom": 1e3 * errors[ENERGY].rmse(),
            "forces_mev_per_angstrom": 1e3 * errors[FORCE].rmse(),
        }
    found["microseconds_per_atom"] = times(fits)
    write_json(HERE / "contracted.json", found)
    print(found)


if __name__ == "__main__":
    main()
