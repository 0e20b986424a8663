"""Draws results/free_energy.png, and writes its numbers: the shift in time, and the free energy of its length.

./run.sh driver run_plumed                               # with a PLUMED kernel
PLUMED_KERNEL=none ./run.sh driver run_embedded          # without
python picture.py plumed=run_plumed embedded=run_embedded
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from forceserver.units import BOLTZMANN_EV_PER_K, PER_EV

RESULTS = Path(__file__).parent / "results"
KT = BOLTZMANN_EV_PER_K * 300 * PER_EV["kJ/mol"]
SKIP_PS = 10


def free_energy(colvar: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """-kT ln of the reweighted density of s at length |s|, kJ/mol; the last column is V - c(t)."""
    late = colvar[colvar[:, 0] > SKIP_PS]
    length, weight = np.linalg.norm(late[:, 1:4], axis=1), np.exp((late[:, -1] - late[:, -1].max()) / KT)
    density = np.histogram(length, edges, weights=weight)[0] / np.diff(edges**3)
    seen = np.where(density > 0, density, np.nan)
    return -KT * np.log(seen / np.nanmax(seen))


def main(folders: dict[str, Path]) -> None:
    runs = {name: np.loadtxt(folder / "COLVAR") for name, folder in folders.items()}
    edges = np.linspace(0, 0.22, 12)
    curves = {name: free_energy(colvar, edges) for name, colvar in runs.items()}
    draw(next(iter(runs.values())), 0.5 * (edges[1:] + edges[:-1]), curves)
    numbers = {"edges_angstrom": edges.round(3).tolist()}
    numbers |= {name: [None if np.isnan(f) else round(f, 2) for f in curve] for name, curve in curves.items()}
    (RESULTS / "free_energy.json").write_text(json.dumps(numbers, indent=1) + "\n")


def draw(colvar: np.ndarray, centres: np.ndarray, curves: dict[str, np.ndarray]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    time, *components = colvar[:, :4].T
    for name, component in zip("xyz", components, strict=True):
        left.plot(time, component, lw=0.7, label=name)
    left.set(xlabel="time (ps)", ylabel="shift of Ti against O, s (Å)")
    left.legend(ncols=3)
    for name, curve in curves.items():
        right.plot(centres, curve, "o-", ms=4, label=name)
    right.set(xlabel="|s| (Å)", xticks=np.arange(0, 0.21, 0.05), ylabel="free energy (kJ/mol)")
    right.legend()
    figure.savefig(RESULTS / "free_energy.png", dpi=110)


if __name__ == "__main__":
    main({name: Path(folder) for name, _, folder in (argument.partition("=") for argument in sys.argv[1:])})
