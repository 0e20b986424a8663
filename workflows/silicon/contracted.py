"""Compares contracted.toml with two_scales.toml: errors of the test structures, and time per atom.

`python contracted.py --every 4 --points 300` wrote contracted.json. With --every 1 and without --points these are the
models of the files, which takes minutes. Times are medians of CPU times of pairs of evaluations, one of each model
after the other.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import read, write

sys.path.insert(0, str(Path(__file__).parents[1]))
from paired_times import microseconds

from forceserver.analysis.parity import ENERGY, FORCE
from forceserver.files import write_json
from forceserver.fit import config, report, run
from forceserver.frame import Frame
from forceserver.potentials.gap import GapPotential

HERE = Path(__file__).parent
NAMES = ("two_scales", "contracted")


def fitted(name: str, folder: Path, points: int | None) -> run.Fit:
    """The fit of a file to the structures in a folder, with fewer sparse points if that is asked for."""
    given = config.load(HERE / f"{name}.toml")
    data = given.data.model_copy(update={"train": folder / "train.extxyz"})
    descriptors = [d.model_copy(update={"n_sparse": points or d.n_sparse}) for d in given.descriptors]
    changes = {"data": data, "descriptors": descriptors, "output": folder / f"{name}.npz", "report": None}
    return run.fit(given.model_copy(update=changes))


def times(fits: dict[str, run.Fit]) -> dict[str, float]:
    """Microseconds of CPU time per atom of 216 atoms, and their ratio."""
    potentials = {name: GapPotential(fit.model) for name, fit in fits.items()}
    taken = microseconds(potentials, Frame.of(bulk("Si", cubic=True) * (3, 3, 3)))
    ratio = np.median(taken[NAMES[1]] / taken[NAMES[0]])
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
