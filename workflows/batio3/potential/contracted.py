"""Fits contracted.toml, and compares it with the model of this folder: errors, time per atom, bits of thread counts.

Writes results/contracted.json. Times are the median of many pairs of evaluations, one of each model after the other.
"""

import sys
from pathlib import Path

import numpy as np
from validate import MODEL, errors, unit_cell

sys.path.insert(0, str(Path(__file__).parents[2]))
from paired_times import microseconds

from forceserver._ext import cpu
from forceserver.files import write_json
from forceserver.fit import config, run
from forceserver.frame import Frame
from forceserver.models.kernel import GapModel
from forceserver.potentials.gap import GapPotential

HERE = Path(__file__).parent
THREADS = (1, 2, 3, 5)


def times(models: dict[str, GapModel]) -> dict[str, float]:
    """Microseconds of CPU time per atom of 320 atoms, and their ratio."""
    taken = microseconds({name: GapPotential(model) for name, model in models.items()}, moving())
    ratio = np.median(taken["batio3"] / taken["contracted"])
    return {name: float(np.median(of)) for name, of in taken.items()} | {"ratio": float(ratio)}


def moving() -> Frame:
    atoms = unit_cell(3.99) * (4, 4, 4)
    atoms.rattle(0.05, seed=0)
    return Frame.of(atoms)


def same_bits(model: GapModel) -> bool:
    """Whether energies, forces and virials are the same for any number of threads."""
    found = []
    for threads in THREADS:
        cpu.set_threads(threads)
        result = GapPotential(model).compute_one(moving())
        found.append((result.energy, result.forces.tobytes(), result.virial.tobytes()))
    cpu.set_threads(1)
    return len(set(found)) == 1


def main() -> None:
    run.fit(config.load(HERE / "contracted.toml"))
    models = {"batio3": GapModel.load(MODEL), "contracted": GapModel.load(HERE / "contracted.npz")}
    test = {name: errors(model)["test"]["(all)"] for name, model in models.items()}
    found = {"test": test, "microseconds_per_atom": times(models), "same_bits": same_bits(models["contracted"])}
    write_json(HERE / "results" / "contracted.json", found)
    print(found)


if __name__ == "__main__":
    main()
