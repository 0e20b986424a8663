"""(i): local reconstruction on scikit-matter's degenerate manifold of methane."""

import matplotlib.pyplot as plt
import numpy as np
from common import RESULTS
from skmatter.datasets import load_degenerate_CH4_manifold

from forceserver.analysis.features import Split, local_reconstruction, percentiles, reconstruction

POINTS = 15


def manifold() -> dict:
    """GFRE and LFRE between power spectrum and bispectrum; samples 0 .. 80 and 81 .. 161 meet in a line."""
    data = load_degenerate_CH4_manifold().data
    sides = {"power spectrum": data.SOAP_power_spectrum, "bispectrum": data.SOAP_bispectrum}
    names = list(sides)
    split = Split.of(np.arange(162), 0)
    rows = np.sort(split.test)
    apart = np.linalg.norm(sides["power spectrum"][:81] - sides["power spectrum"][81:], axis=1)
    found: dict = {"local points": POINTS, "test": rows.tolist(), "ways": {}}
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.6), sharey=True, layout="constrained")
    for axis, (a, b) in zip(axes, (names, names[::-1]), strict=True):
        errors = local_reconstruction(sides[a], sides[b], split, POINTS, len(rows))
        gfre, gfrd = reconstruction(sides[a], sides[b], split)
        found["ways"][f"{a} -> {b}"] = {"gfre": gfre, "gfrd": gfrd, "lfre": percentiles(errors), "all": errors.tolist()}
        axis.semilogy(apart[rows % 81], errors, ".", ms=4)
        axis.set(title=f"{a} → {b}, GFRE {gfre:.2g}", xlabel="distance of power spectra to the partner", ylabel="LFRE")
        near = apart[rows % 81] < np.quantile(apart, 0.15)
        found["ways"][f"{a} -> {b}"] |= {"median near the line": float(np.median(errors[near])),
                                         "median elsewhere": float(np.median(errors[~near]))}  # fmt: skip
    figure.savefig(RESULTS / "degenerate_manifold.png", dpi=110)
    return found
