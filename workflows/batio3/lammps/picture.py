"""Draws results/free_energy.png from results/COLVAR.*: the shift in time, and the free energy of its length."""

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


def main() -> None:
    runs = {name: np.loadtxt(RESULTS / f"COLVAR.{name}") for name in ("plumed", "embedded")}
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    time, *components = runs["plumed"][:, :4].T
    for name, component in zip("xyz", components, strict=True):
        left.plot(time, component, lw=0.7, label=name)
    left.set(xlabel="time (ps)", ylabel="shift of Ti against O, s (Å)")
    left.legend(ncols=3)
    edges = np.linspace(0, 0.22, 12)
    for name, colvar in runs.items():
        right.plot(0.5 * (edges[1:] + edges[:-1]), free_energy(colvar, edges), "o-", ms=4, label=name)
    right.set(xlabel="|s| (Å)", xticks=np.arange(0, 0.21, 0.05), ylabel="free energy (kJ/mol)")
    right.legend()
    figure.savefig(RESULTS / "free_energy.png", dpi=110)


if __name__ == "__main__":
    main()
