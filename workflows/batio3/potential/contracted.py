"""Fits contracted.toml, and compares it with the model of this folder: errors, time per atom, bits of thread counts.

Writes results/contracted.json. Times are the median of many pairs of evaluations, one of each model after the other.
"""

import time
from pathlib import Path

import numpy as np
from validate import MODEL, errors, unit_cell

from forceserver._ext import cpu
from forceserver.files import write_json
from forceserver.fit import config, run
from forceserver.frame import Frame
from forceserver.models.kernel import GapModel
from forceserver.potentials.gap import GapPotential

HERE = Path(__file__).parent
PAIRS = 41
THREADS = (1, 2, 3, 5)


def microseconds(models: dict[str, GapModel]) -> dict[str, float]:
    """CPU time per atom of energy, forces and virial of 320 atoms, on one thread."""
    cpu.set_threads(1)
    frame = moving()
    potentials = {name: GapPotential(model) for name, model in models.items()}
    taken: dict[str, list[float]] = {name: [] for name in models}
    rng, at_rest = np.random.default_rng(0), frame.positions.copy()
    for _ in range(PAIRS):
        frame.positions[:] = at_rest + rng.normal(scale=0.01, size=at_rest.shape)
        for name, potential in potentials.items():
            start = time.process_time()
            potential.compute_one(frame)
            taken[name].append(1e6 * (time.process_time() - start) / len(frame))
    ratio = np.median(np.array(taken["batio3"]) / np.array(taken["contracted"]))
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
    found = {"test": test, "microseconds_per_atom": microseconds(models), "same_bits": same_bits(models["contracted"])}
    write_json(HERE / "results" / "contracted.json", found)
    print(found)


if __name__ == "__main__":
    main()
