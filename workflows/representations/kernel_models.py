"""(e): kernel models of silicon against the number of radial functions and of features, contracted and not."""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.io import read, write
from common import RESULTS, SILICON

from forceserver.analysis.parity import ENERGY, FORCE
from forceserver.fit import report, run
from forceserver.fit.config import FitConfig
from forceserver.models.base import Model

COUNTS = (2, 4, 6, 8)
PRIMITIVES = 12
FEATURES = (100, 250, None)
L_MAX = 6
POINTS = 200


def errors_against_size(every: int) -> dict:
    """Errors of the test structures of silicon for n primitive functions, and for q of twelve."""
    found: dict = {"points": POINTS, "curves": []}
    with tempfile.TemporaryDirectory() as folder:
        structures = read(SILICON, f"::{every}")
        found["structures"] = len(structures)
        write(Path(folder) / "train.extxyz", structures)
        for contracted in (False, True):
            for n in COUNTS:
                for features in FEATURES:
                    if features is None or features < n * (n + 1) // 2 * (L_MAX + 1):
                        found["curves"].append(_one(Path(folder), n, contracted, features))
    _draw(found)
    return found


def _one(folder: Path, n: int, contracted: bool, features: int | None) -> dict:
    descriptor = {
        "kind": "soap", "zeta": 4, "delta_ev": 3.0, "n_sparse": POINTS, "sparse_selection": "cur",
        "n_features": features, "spline_tolerance": 1e-6, "contraction": {"q_max": n} if contracted else None,
        "basis": {
            "kind": "gto", "n_max": PRIMITIVES if contracted else n, "l_max": L_MAX,
            "cutoff": {"cutoff_angstrom": 5.0, "width_angstrom": 0.5},
            "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
        },
    }  # fmt: skip
    fit = run.fit(
        FitConfig.model_validate(
            {
                "output": folder / "model.npz",
                "repulsion": False,
                "data": {"train": folder / "train.extxyz", "test": SILICON.parent / "Si_test.extxyz"},
                "sigma": {"default": {"energy_ev": 0.01, "force_ev_per_angstrom": 0.05}},
                "descriptors": [descriptor],
            }
        )
    )
    errors = report.compare(fit.model, fit.test).groups["(all)"]
    return {
        "n": n, "contracted": contracted, "features": _size(fit.model), "selected": features,
        "energy_mev_per_atom": 1e3 * errors[ENERGY].rmse(), "forces_mev_per_angstrom": 1e3 * errors[FORCE].rmse(),
    }  # fmt: skip


def _size(model: Model) -> int:
    return len(model.soap[0].features)


def _draw(found: dict) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.7), layout="constrained")
    for axis, what in zip(axes, ("energy_mev_per_atom", "forces_mev_per_angstrom"), strict=True):
        for contracted, colour in ((False, "tab:orange"), (True, "tab:blue")):
            for features, style in zip(FEATURES, (":", "--", "-"), strict=True):
                of = [c for c in found["curves"] if c["contracted"] is contracted and c["selected"] == features]
                label = f"{'PCA of 12' if contracted else 'GTO'}, {features or 'all'} features"
                axis.semilogy([c["n"] for c in of], [c[what] for c in of], style, marker=".", color=colour, label=label)
        axis.set(xlabel="radial functions")
        axis.set_yticks([7, 10, 15] if what.startswith("energy") else [125, 150, 200])
        axis.yaxis.set_major_formatter("{x:.0f}")
        axis.yaxis.set_minor_formatter("")
    axes[0].set_ylabel("energies, meV/atom")
    axes[1].set_ylabel("forces, meV/Å")
    axes[1].legend(fontsize=6)
    figure.savefig(RESULTS / "kernel_models.png", dpi=110)
    assert np.isfinite([c["energy_mev_per_atom"] for c in found["curves"]]).all()
