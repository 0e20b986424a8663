"""(j): how many displacements of the atoms of methane the features of its carbon notice."""

import matplotlib.pyplot as plt
import numpy as np
from common import RESULTS, methane, section

from forceserver.analysis.jacobian import jacobian
from forceserver.frame import Frame
from forceserver.representation.describing import FeatureMap

SIZES = ((1, 0), (2, 1), (3, 2), (4, 3), (6, 4), (8, 6))
SHOWN = ((2, 1), (4, 3), (8, 6))
NUMBER = 15


def spectra() -> dict:
    """Singular values of NUMBER environments for several sizes of power spectrum, and for a multispectrum."""
    structures = methane(NUMBER, seed=1)
    sections = {f"({n}, {l})": section(n, l, 4.0, 0.4, centres=["C"]) for n, l in SIZES}
    multi = {"nu": 3, "n_components": 20, "n_invariants": 39, "num_expand": 300}
    few = {"mixed": True, "q_max": 4}
    sections["(4, 3), ν = 3"] = section(4, 3, 4.0, 0.4, centres=["C"], contraction=few, multispectrum=multi)
    found = {}
    for name, one in sections.items():
        maps = FeatureMap(one, methane(200, seed=2))  # what a multispectrum learns from
        all_of_them = [jacobian(maps, Frame.of(atoms), 0) for atoms in structures]
        found[name] = {
            "features": len(maps),
            "ranks": [j.rank for j in all_of_them],
            "noise": max(j.noise for j in all_of_them),
            "singular_values": [j.singular_values.tolist() for j in all_of_them],
        }
    _draw(found)
    return found


def _draw(found: dict) -> None:
    names = [f"({n}, {l})" for n, l in SHOWN] + [name for name in found if "ν" in name]
    figure, axes = plt.subplots(1, len(names), figsize=(2.2 * len(names), 2.5), sharey=True, layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        one = found[name]
        for values in one["singular_values"]:
            axis.semilogy(np.arange(1, len(values) + 1), np.maximum(values, 1e-18), color="C0", lw=0.5, alpha=0.5)
        axis.axhline(one["noise"], color="k", lw=0.6, ls=":")
        axis.axvline(9.5, color="0.7", lw=0.6)
        axis.set(title=f"{name}, {one['features']} features", xlabel="number")
    axes[0].set_ylabel("singular value (1/Å)")
    figure.savefig(RESULTS / "jacobians.png", dpi=110)
