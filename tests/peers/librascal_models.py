"""Writes data/librascal: small models of librascal, and what librascal predicts with them.

Run by hand where librascal can be imported (it has no wheel; built from commit 6c55e997 of lab-cosmo/librascal, Eigen
3.3.7, pybind11 2.10): python librascal_models.py. The weights are random, the predictions are librascal's.
"""

import json
from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk
from rascal.models.kernels import Kernel
from rascal.models.krr import KRR
from rascal.models.sparse_points import SparsePoints
from rascal.representations import SphericalInvariants
from rascal.utils import dump_obj

DATA = Path(__file__).parent / "data" / "librascal"
COMMON = {
    "soap_type": "PowerSpectrum",
    "radial_basis": "GTO",
    "gaussian_sigma_type": "Constant",
    "gaussian_sigma_constant": 0.4,
    "interaction_cutoff": 3.5,
    "cutoff_smooth_width": 0.7,
    "max_radial": 2,
    "max_angular": 2,
    "compute_gradients": True,
    "expansion_by_species_method": "user defined",
    "global_species": [6, 14],
}
SCALING = {
    "cutoff_function_type": "RadialScaling",
    "cutoff_function_parameters": {"rate": 1.5, "scale": 2.0, "exponent": 3},
}
EXACT = {"optimization": {"Spline": {"accuracy": 1e-12}}}
ONE_SIDED = {"a": [6, 6, 6, 6, 14, 14, 14], "b": [6, 6, 14, 14, 14, 14, 14], "n1": [0, 1, 0, 1, 1, 0, 1],
             "n2": [0, 0, 1, 1, 0, 1, 1], "l": [0, 1, 2, 1, 2, 2, 0]}  # fmt: skip


def projections() -> dict[int, list]:
    """Two radial functions of four."""
    rng = np.random.default_rng(5)
    return {s: [np.linalg.qr(rng.normal(size=(4, 2)))[0].T.tolist() for _ in range(3)] for s in (6, 14)}


MODELS = {
    "all_features": (3, COMMON | SCALING | EXACT | {"normalize": True}),
    "selected": (1, COMMON | EXACT | {"normalize": True, "coefficient_subselection": ONE_SIDED}),
    "not_normalised": (2, COMMON | EXACT | {"normalize": False}),
    "mixed_radial": (
        2,
        COMMON | SCALING | {"normalize": True, "optimization": EXACT["optimization"]
                            | {"RadialDimReduction": {"projection_matrices": projections()}}},
    ),
}  # fmt: skip


def structures() -> list:
    """Triclinic silicon carbide, one with a vacancy, and silicon alone."""
    made = []
    for seed in range(2):
        atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
        atoms.set_cell(atoms.cell.array @ [[1.02, 0.05, 0], [0.02, 0.98, 0], [0.06, 0, 1.03]], scale_atoms=True)
        atoms.rattle(0.15, seed=seed)
        made.append(atoms)
    del made[1][2]
    silicon = bulk("Si", cubic=True)
    silicon.rattle(0.1, seed=3)
    for atoms in (*made, silicon):
        atoms.wrap(eps=1e-11)
    return [*made, silicon]


def predictions(model: KRR, representation: SphericalInvariants, atoms) -> dict:
    """With the kernel matrix: `predict_forces` without it crashes in a build by GCC 12."""
    managers = representation.transform([atoms])
    gradients = model.kernel(managers, model.X_train, (True, False), compute_neg_stress=True)
    n = 3 * len(atoms)
    return {
        "energy": float(model.predict(managers)[0]),
        "forces": model.predict_forces(managers, KNM=gradients[:n]).tolist(),
        "stress": model.predict_stress(managers, KNM=gradients[n:])[0].tolist(),
    }


def main() -> None:
    DATA.mkdir(exist_ok=True)
    frames = structures()
    found = {}
    for name, (zeta, hypers) in MODELS.items():
        representation = SphericalInvariants(**hypers)
        kernel = Kernel(representation, name="GAP", zeta=zeta, target_type="Structure", kernel_type="Sparse")
        points = SparsePoints(representation)
        points.extend(representation.transform(frames), [[0, 5], [3, 4], [1]])
        weights = np.random.default_rng(zeta).normal(size=len(points)) / np.abs(kernel(points)).max()
        model = KRR(weights, kernel, points, {6: -5.0, 14: -3.0}, description=f"random weights, {name}")
        dump_obj(str(DATA / f"{name}.json"), model)
        found[name] = [predictions(model, representation, atoms) for atoms in frames]
        text = json.loads((DATA / f"{name}.json").read_text())
        (DATA / f"{name}.json").write_text(json.dumps(text) + "\n")
    (DATA / "predictions.json").write_text(json.dumps(found) + "\n")
    ase.io.write(DATA / "structures.extxyz", frames)


if __name__ == "__main__":
    main()
