"""(g): formation energies of molecules: learning curves of three contractions and orders, and size against error."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from common import RESULTS, features, section
from regressions import Molecules, linear_errors, means, rmse

SHAPE = (3, 4.0, 0.3, 1.0)  # l_max, cutoff, sigma, width
PRIMITIVES = 12
TEST = 0.2
SHARES = (0.125, 0.25, 0.5, 1.0)
HIGHER = {"nu": 3, "n_components": 16, "n_invariants": 160, "num_expand": 300}


def config(order: int, n: int, kind: str, l_max: int | None = None):
    """A section: `n` functions for each species (GTO, PCA) or in all (mixed PCA), and invariants up to an order."""
    most, cutoff, sigma, width = SHAPE
    keys: dict = {"power_spectrum": order > 1}
    if kind != "GTO":
        keys["contraction"] = {"q_max": n, "mixed": kind == "mixed PCA"}
    if order == 3:
        keys["multispectrum"] = HIGHER
    l_max = (most if order > 1 else 0) if l_max is None else l_max
    return section(n if kind == "GTO" else PRIMITIVES, l_max, cutoff, sigma, width, **keys)


class Curves:
    """Errors of linear models of molecules, of which a fifth is for testing."""

    def __init__(self, molecules: Path, every: int) -> None:
        self.data = Molecules.read(molecules, every)
        count = int(TEST * len(self.data.atoms))
        self.test, self.train = np.split(np.arange(len(self.data.atoms)), [count])
        self._species = np.concatenate([atoms.numbers for atoms in self.data.atoms])

    def errors(self, order: int, n: int, kind: str, sizes: list[int], l_max: int | None = None) -> dict:
        """RMSE (meV per atom) of test molecules, for these numbers of training molecules."""
        x, structure = features(config(order, n, kind, l_max), self.data.atoms)
        rows = means(x, structure, self._species)
        found = {size: rmse(linear_errors(rows, self.data, self.train[:size], self.test)) for size in sizes}
        return {"order": order, "functions": n, "kind": kind, "features": x.shape[1], "rmse": found}


def curves(every: int, molecules: Path) -> dict:
    """Errors against the number of training molecules, and of features; and at the same size, with all molecules."""
    some = Curves(molecules, every)
    sizes = [int(share * len(some.train)) for share in SHARES]
    found: dict = {"train": len(some.train), "test": len(some.test), "learning": [], "size": []}
    for order, kind, n in (
        (1, "GTO", 4), (1, "PCA", 4), (1, "mixed PCA", 16),
        (2, "GTO", 4), (2, "PCA", 4), (2, "mixed PCA", 16),
        (3, "GTO", 2), (3, "PCA", 2), (3, "mixed PCA", 8),
    ):  # fmt: skip
        found["learning"].append(some.errors(order, n, kind, sizes))
    for kind, counts in (("GTO", (1, 2, 3)), ("PCA", (1, 2, 3)), ("mixed PCA", (3, 4, 5, 8, 12))):
        found["size"] += [some.errors(2, n, kind, sizes[-1:]) for n in counts]
    found["size"] += [one | {"rmse": {sizes[-1]: one["rmse"][sizes[-1]]}} for one in found["learning"][3:6]]
    everything = Curves(molecules, 1)
    found["same_size"] = [
        everything.errors(2, n, kind, [len(everything.train)], l_max)
        for n, kind, l_max in ((4, "mixed PCA", 3), (1, "GTO", 3), (5, "mixed PCA", 3), (1, "GTO", 5))
    ]
    _draw(found)
    return found


COLOURS = {"GTO": "tab:orange", "PCA": "tab:blue", "mixed PCA": "tab:green"}


def _draw(found: dict) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 2.9), layout="constrained")
    for one in found["learning"]:
        style = {1: ":", 2: "--", 3: "-"}[one["order"]]
        label = one["kind"] if one["order"] == 3 else None
        number, error = ([float(value) for value in part] for part in (one["rmse"], one["rmse"].values()))
        axes[0].loglog(number, error, style, marker=".", color=COLOURS[one["kind"]], label=label)
    axes[0].set(xlabel="training molecules", title="ν = 1 (dots), 2 (dashes), 3 (lines)")
    axes[0].set_xticks(number)
    for kind, colour in COLOURS.items():
        of = sorted((one["features"], *one["rmse"].values()) for one in found["size"] if one["kind"] == kind)
        axes[1].loglog(*np.transpose(of), ".-", color=colour, label=kind)
    axes[1].set(xlabel="features", title="power spectrum")
    axes[1].set_xticks([30, 100, 300])
    for axis in axes:
        axis.set_yticks([15, 20, 30, 40, 50])
        axis.set_ylabel("test error, meV/atom")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter("{x:.0f}")
            side.set_minor_formatter("")
    axes[1].legend()
    figure.savefig(RESULTS / "learning.png", dpi=110)
