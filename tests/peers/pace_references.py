"""Writes tests/potentials/data/pace.json: structures, and what the evaluator of ICAMS predicts for them.

Run by hand: python tests/peers/pace_references.py LIBRARY, with the library that `python -m benchmarks.clients.pace`
makes. The potentials are those of tests/potentials/pace_files.py, with random coefficients.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "potentials")]

from pace_files import POTENTIALS, yace  # noqa: E402

from benchmarks.clients.pace import Peer  # noqa: E402

DATA = ROOT / "tests" / "potentials" / "data" / "pace.json"


def crystal(elements: list[str], spacing: float, seed: int) -> Atoms:
    """Eight atoms of random elements in a triclinic cell."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True, a=spacing) * (2, 1, 1)
    atoms.set_chemical_symbols(rng.choice(elements, len(atoms)))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.1 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += 0.05 * spacing * rng.normal(size=(len(atoms), 3))
    return atoms


def structures(elements: list[str], scale: float) -> dict[str, Atoms]:
    """Crystals, a slab, a cluster, an atom, and pairs from far apart to nearly on top of each other."""
    found = {f"crystal {seed}": crystal(elements, scale * (3.7 - 0.3 * seed), seed) for seed in range(3)}
    found["slab"] = crystal(elements, scale * 3.6, 5)
    found["slab"].pbc = [True, True, False]
    found["cluster"] = crystal(elements, scale * 3.3, 7)
    found["cluster"].pbc = False
    for element in elements:
        found[f"atom {element}"] = Atoms(element)
    for number, distance in enumerate((0.6, 0.85, 1.05, 1.2, 1.35, 1.5, 2.2, 3.9)):
        a, b = elements[number % len(elements)], elements[(number // len(elements)) % len(elements)]
        direction = np.array([0.48, -0.6, 0.64])
        found[f"pair {distance}"] = Atoms([a, b], [[0, 0, 0], distance * direction])
    found["three"] = Atoms([elements[0], elements[-1], elements[0]], [[0, 0, 0], [0.2, 0.5, 0.9], [-0.8, 0.6, 0.1]])
    return found


def main(library: str) -> None:
    written = {}
    for name, make in POTENTIALS.items():
        content = make()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.yace"
            path.write_text(yace(content))
            peer = Peer(library, path)
        found = []
        for title, atoms in structures(content["elements"], 0.8 if name == "water" else 1.0).items():
            energies, forces, virial, _ = peer.compute(atoms)
            parts = {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array, "pbc": atoms.pbc}
            parts |= {"energies": energies, "forces": forces, "virial": virial}
            found.append({"title": title, **{key: part.tolist() for key, part in parts.items()}})
        written[name] = found
    lines = [f"{json.dumps(name)}: [\n" + ",\n".join(map(json.dumps, found)) + "\n]" for name, found in written.items()]
    DATA.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main(sys.argv[1])
