"""The pair style in LAMMPS beside the same model in Python, on one rank and two.

Barium titanate with the kernel model of `workflows/batio3/potential`, rattled by 0.05 Å and at 150 K; microseconds per
atom and step. LAMMPS: its own "loop time" of some steps of NVE, neighbour lists and motion included; Python: a call of
the potential after all atoms have moved. They take turns; medians over rounds, in brackets the smallest. The second
table says where LAMMPS's time goes, as it counts it itself (the average of the ranks, of the fastest round); what two
ranks lose is the difference to half the time of one.
"""

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from forceserver.frame import Frame
from forceserver.lammps.build import build_plugin
from forceserver.lammps.tables import export
from forceserver.potentials.model_files import load_potential

from .harness import Table

STUDY = Path(__file__).parents[1] / "workflows" / "batio3"
REPEATS = (4, 8)
"""Of a structure of 40 atoms, along each direction."""
RANKS = (1, 2)
SECTIONS = ("Pair", "Neigh", "Comm", "Modify", "Other")
INPUT = """
plugin load ./forceserverplugin.so
units metal
atom_style atomic
read_data start.data
pair_style forceserver
pair_coeff * * model.npz Ba Ti O
neighbor 0.5 bin
neigh_modify every 5 delay 0 check yes
velocity all create 150 1
fix 1 all nve
timestep 0.002
thermo 1000
run 2
run {steps}
"""


def structure(repeat: int):
    """Rattled atoms of ASE."""
    import ase.io

    atoms = ase.io.read(STUDY / "structures" / "rhombohedral_2.extxyz").repeat(repeat)
    atoms.rattle(0.05, seed=1)
    return atoms


def prepare(folder: Path) -> None:
    """The plugin, and the model with its tables."""
    build_plugin(folder / "forceserverplugin.so")
    export(STUDY / "potential" / "batio3.npz", folder / "model.npz")


def simulate(folder: Path, ranks: int, steps: int) -> str:
    """What LAMMPS prints about the last run."""
    (folder / "in.lmp").write_text(INPUT.format(steps=steps))
    command = ["mpirun", "-n", str(ranks)] * (ranks > 1) + ["lmp", "-in", "in.lmp", "-log", "none"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    text = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
    return text[text.rindex("Loop time") :]


def loop_seconds(text: str) -> float:
    return float(re.match(r"Loop time of (\S+)", text)[1])


def sections(text: str) -> list[float]:
    """Seconds of each section, and ghosts of a rank."""
    seconds = [float(re.search(rf"^{name} +\|[^|]*\| *(\S+)", text, flags=re.MULTILINE)[1]) for name in SECTIONS]
    return [*seconds, float(re.search(r"Nghost: +(\S+)", text)[1])]


def in_python(folder: Path, atoms, steps: int) -> float:
    """Seconds of as many calls."""
    potential, frame = load_potential(folder / "model.npz"), Frame.from_ase(atoms)
    rng = np.random.default_rng(2)
    moves = 0.005 * rng.normal(size=(2, *frame.positions.shape))
    potential.compute_one(frame)
    begun = time.perf_counter()
    for step in range(steps):
        frame.positions += moves[step % 2] * (-1) ** (step // 2)
        potential.compute_one(frame)
    return time.perf_counter() - begun


def rounds_of(folder: Path, repeat: int, rounds: int, steps: int) -> tuple[list[float], dict[int, list[str]]]:
    """Seconds in Python and what LAMMPS prints, for each round."""
    import ase.io

    atoms = structure(repeat)
    ase.io.write(folder / "start.data", atoms, format="lammps-data", specorder=["Ba", "Ti", "O"], masses=True)
    python, printed = [], {ranks: [] for ranks in RANKS}
    for _ in range(rounds):
        python.append(in_python(folder, atoms, steps))
        for ranks, texts in printed.items():
            texts.append(simulate(folder, ranks, steps))
    return python, printed


def tables(quick: bool) -> Iterator[Table]:
    speed = Table("Microseconds per atom and step", ["atoms", "Python", "one rank", "ratio", "two ranks", "faster by"])
    where = Table("Microseconds per atom and step", ["atoms, ranks", *SECTIONS, "ghosts of a rank"])
    with tempfile.TemporaryDirectory(prefix="fslammps-") as name:
        prepare(Path(name))
        for repeat in REPEATS[: 1 if quick else None]:
            atoms, steps = 40 * repeat**3, 200 // repeat**2
            python, printed = rounds_of(Path(name), repeat, 3 if quick else 5, steps)
            scale = 1e6 / (atoms * steps)
            loops = {ranks: [loop_seconds(text) for text in texts] for ranks, texts in printed.items()}
            cells = [f"{scale * statistics.median(t):.1f} ({scale * min(t):.1f})" for t in (python, *loops.values())]
            medians = [statistics.median(t) for t in (python, *loops.values())]
            speed.rows.append(
                [str(atoms), *cells[:2], f"{medians[1] / medians[0]:.2f}", cells[2], f"{medians[1] / medians[2]:.2f}"]
            )
            for ranks, texts in printed.items():
                *seconds, ghosts = sections(min(texts, key=loop_seconds))
                where.rows.append([f"{atoms}, {ranks}", *(f"{scale * s:.2f}" for s in seconds), int(ghosts)])
    yield speed
    yield where
