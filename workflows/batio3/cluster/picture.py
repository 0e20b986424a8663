"""Draws chain.png: the conserved quantity and the centroid's polarization through the jobs of a chain.

python picture.py RUN      # the folder of the chain, with out.properties, COLVAR and perhaps jobs.txt
"""

import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np


def main(run: Path) -> None:
    properties, colvar = (np.loadtxt(run / name) for name in ("out.properties", "COLVAR"))
    jobs = run / "jobs.txt"  # as in results/jobs.txt
    ends = [int(last) / 1000 for last in re.findall(r"to step (\d+)", jobs.read_text())] if jobs.exists() else []
    figure, (upper, lower) = plt.subplots(2, sharex=True, figsize=(7, 4.4), layout="constrained")
    upper.plot(properties[:, 1], properties[:, 2] - properties[0, 2], lw=0.9)
    upper.set(ylabel="conserved quantity (eV)")
    for column, name in enumerate("xyz", start=1):
        lower.plot(colvar[:, 0], colvar[:, column], lw=0.9, label=name)
    lower.set(xlabel="time (ps)", ylabel="shift of Ti against O (Å)")
    lower.legend(ncols=3, loc="upper right")
    for axes in (upper, lower):
        for end in ends[:-1]:
            axes.axvline(end, color="grey", lw=0.8, ls=":")
    figure.savefig(run / "chain.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
