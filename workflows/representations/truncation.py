"""(c): how much of the power spectrum is left with fewer radial functions, and with selected features."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from ase.io import read
from common import RESULTS, SILICON, features, section

from forceserver.analysis.features import Split, compact, reconstruction
from forceserver.fit.selection import choose_features

ENVIRONMENTS = 600


def reconstruction_errors(every: int, molecules: Path) -> dict:
    """GFRE of the whole power spectrum from fewer features, for silicon and for molecules."""
    found = {
        "silicon": one_set(read(SILICON, f"::{every}"), (12, 4, 6.0, 0.5, 2.0), (2, 3, 4, 6, 8), ()),
        "molecules": one_set(read(molecules, f"::{every}"), (5, 3, 4.0, 0.4, 1.0), (1, 2, 3, 4), (2, 4, 6, 8, 12)),
    }
    _draw(found)
    return found


def one_set(structures: list[Atoms], shape: tuple, counts: Sequence[int], mixed: Sequence[int]) -> dict:
    """Name -> [[features, GFRE]]; counts: functions of each species, mixed: channels of all species."""
    _, l_max, cutoff, sigma, width = shape
    every, structure = features(section(*shape), structures)
    rows = np.sort(np.random.default_rng(0).permutation(len(every))[:ENVIRONMENTS])
    whole = every[rows]
    split, target = Split.of(structure[rows], 0), compact(whole)
    found: dict = {"environments": len(whole), "features": whole.shape[1], "curves": {}}

    def add(name: str, x: np.ndarray) -> None:
        found["curves"].setdefault(name, []).append([x.shape[1], reconstruction(compact(x), target, split)[0]])

    for q in counts:
        few = features(section(q, l_max, cutoff, sigma, width), structures)[0][rows]
        add("GTO", few)
        keys = {"contraction": {"q_max": q}}
        add("PCA", features(section(*shape, **keys), structures)[0][rows])
        for how in ("fps", "cur"):
            add(how.upper(), whole[:, choose_features(whole[split.train], few.shape[1], how)])
    for q in mixed:
        keys = {"contraction": {"mixed": True, "q_max": q}}
        add("mixed PCA", features(section(*shape, **keys), structures)[0][rows])
    return found


def _draw(found: dict) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.6), layout="constrained")
    for axis, (name, one) in zip(axes, found.items(), strict=True):
        for kind, curve in one["curves"].items():
            number, error = np.array(curve).T
            axis.loglog(number, np.maximum(error, 1e-8), ".-", ms=4, label=kind)
        axis.axvline(one["features"], color="0.8", lw=0.7)
        axis.set(title=name, xlabel="features", ylabel="GFRE of the whole power spectrum")
        axis.xaxis.set_minor_formatter("")
        axis.yaxis.set_minor_formatter("")
    axes[1].legend()
    figure.savefig(RESULTS / "truncation.png", dpi=110)
