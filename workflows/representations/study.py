"""What representations keep and know: one command a figure, `python study.py a`; results lie beside the pictures.

a: the optimal radial functions of silicon, l = 0 and 4, from DVR and from GTO with n_max = 20.
b: the residual variance of the coefficients against the number of functions, for silicon and for molecules.
c: the reconstruction error of the power spectrum with fewer radial functions, and with selected features.
d: the residual variance of multispectra up to order 4, against the rule that retained fractions multiply.
e: errors of kernel models of silicon against the number of radial functions and features, contracted and not.
f: models of pairs with few radial functions of four bases, linear and with a kernel.
g: formation energies of molecules: learning curves, and size against error.
h: reconstruction errors between densities, radial scalings, cutoffs, orders and sorted distances.
i: local reconstruction errors on scikit-matter's degenerate manifold of methane.
j: singular values of the Jacobians of methane environments.
s: what the tolerance of splines does to predictions of the model of barium titanate.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.io import read
from common import RESULTS, SILICON, TOLERANCE

from forceserver.frame import Frame
from forceserver.representation.contraction import Covariance
from forceserver.representation.dvr import DvrBasis
from forceserver.representation.gto import GtoBasis
from forceserver.representation.laplacian import LaplacianBasis

KINDS = {"GTO": GtoBasis, "DVR": DvrBasis, "Laplacian": LaplacianBasis}
N_MAX = 20
COUNTS = (2, 4, 6, 8)


def basis(name: str, n_max: int, l_max: int, cutoff: float, sigma: float, width: float):
    """A radial basis with a Gaussian density; lengths in Angstrom."""
    return KINDS[name](
        n_max=n_max,
        l_max=l_max,
        cutoff={"cutoff_angstrom": cutoff, "width_angstrom": width},
        density={"kind": "gaussian", "sigma_angstrom": sigma},
    )


def optimal_functions(every: int) -> dict:
    """(a): the same six functions from two bases; overlaps are normalised inside the cutoff."""
    frames = [Frame.of(atoms) for atoms in read(SILICON, f"::{every}")]
    r = np.linspace(0, 6, 3001)
    figure, axes = plt.subplots(2, 2, figsize=(6.5, 4.2), sharex=True, layout="constrained")
    found: dict = {"cutoff_angstrom": 6.0, "structures": len(frames), "overlaps": []}
    for column, (sigma, width) in enumerate(((0.5, 0.5), (0.5, 2.0))):
        functions = {}
        for name in ("GTO", "DVR"):
            covariance = Covariance.of(basis(name, N_MAX, 4, 6.0, sigma, width), frames, [14], tolerance=TOLERANCE)
            functions[name] = covariance.contraction(q_max=6).radial(r)[14] * r[:, None, None]
        for row, l in enumerate((0, 4)):
            gto, dvr = functions["GTO"][:, l], functions["DVR"][:, l]
            overlap = (gto * dvr).sum(axis=0) / np.sqrt((gto**2).sum(axis=0) * (dvr**2).sum(axis=0))
            found["overlaps"].append(
                {"sigma_angstrom": sigma, "width_angstrom": width, "l": l, "overlap": np.abs(overlap).tolist()}
            )
            axis = axes[row, column]
            for q, colour in enumerate(plt.cm.viridis(np.linspace(0, 0.9, 6))):
                axis.plot(r, gto[:, q], color=colour)
                axis.plot(r, np.sign(overlap[q]) * dvr[:, q], ":", color="k", linewidth=0.8)
            axis.set(title=f"l = {l}, width of $f_c$ {width} Å", xlabel="r (Å)", ylabel="r R(r) (Å$^{-1/2}$)")
    figure.savefig(RESULTS / "optimal_functions.png", dpi=110)
    return found


def residual_variance(every: int, molecules: Path) -> dict:
    """(b): one minus the variance that q functions hold over that of 20 optimal ones, for every l."""
    silicon = [Frame.of(atoms) for atoms in read(SILICON, f"::{every}")]
    small = [Frame.of(atoms) for atoms in read(molecules, f"::{every}")]
    sets = {
        "silicon": residuals(silicon, (14,), 6.0, 0.5, 2.0),
        "molecules": residuals(small, (1, 6, 7, 8), 4.0, 0.3, 1.0),
    }
    draw_residuals(sets)
    return {"structures": {"silicon": len(silicon), "molecules": len(small)}, "residual_variance": sets}


def residuals(frames: Sequence[Frame], species: Sequence[int], cutoff: float, sigma: float, width: float) -> dict:
    """Name -> {q: [residual of each l]}; q counts functions of each species, for the mixed ones those of all."""
    l_max = 4
    full = Covariance.of(basis("GTO", N_MAX, l_max, cutoff, sigma, width), frames, species, tolerance=TOLERANCE)
    total = _traces(full)
    found: dict[str, dict[int, list[float]]] = {name: {} for name in KINDS}
    for name in KINDS:
        for q in COUNTS:
            here = Covariance.of(basis(name, q, l_max, cutoff, sigma, width), frames, species, tolerance=TOLERANCE)
            found[name][q] = (1 - _traces(here) / total).tolist()
    pca = full.contraction(q_max=N_MAX)
    share = {s: np.array([m[k, :, k].trace() for m in full.matrices]) / total for k, s in enumerate(full.species)}
    found["PCA"] = {q: sum(share[s] * pca.residual(s)[:, q] for s in full.species).tolist() for q in COUNTS}
    mixed = full.contraction(mixed=True, q_max=1)
    channels = [q for q in (*COUNTS, 16, 24, 32, 40, 48) if q <= len(species) * N_MAX]
    found["mixed PCA"] = {q: mixed.residual()[:, q].tolist() for q in channels}
    return found


def _traces(covariance: Covariance) -> np.ndarray:
    return np.array([np.einsum("anan", matrix) for matrix in covariance.matrices])


def draw_residuals(sets: dict) -> None:
    figure, axes = plt.subplots(2, 3, figsize=(8, 4.6), layout="constrained")
    for row, (name, found) in zip(axes, sets.items(), strict=True):
        species = 4 if name == "molecules" else 1
        for axis, l in zip(row, (0, 2, 4), strict=True):
            for kind, curve in found.items():
                if kind == "mixed PCA" and species == 1:
                    continue
                q = np.array(list(curve)) * (1 if kind == "mixed PCA" else species)
                axis.semilogy(q, np.maximum([v[l] for v in curve.values()], 1e-9), ".-", ms=3, label=kind)
            axis.set(title=f"{name}, l = {l}", xlabel="channels (functions × species)", ylabel="residual variance")
        row[0].legend()
    figure.savefig(RESULTS / "residual_variance.png", dpi=110)


def figures(every: int, molecules: Path | None) -> dict:
    """By letter: the name of the results, and what computes them."""
    import degenerate
    import feature_space
    import higher_orders
    import kernel_models
    import learning
    import sensitivity
    import spline_accuracy
    import truncation
    import two_bodies

    return {
        "a": ("optimal_functions", lambda: optimal_functions(every)),
        "b": ("residual_variance", lambda: residual_variance(every, molecules)),
        "c": ("truncation", lambda: truncation.reconstruction_errors(every, molecules)),
        "d": ("multispectra", lambda: higher_orders.residual_variance(every, molecules)),
        "e": ("kernel_models", lambda: kernel_models.errors_against_size(every)),
        "f": ("two_bodies", lambda: two_bodies.models(every, molecules)),
        "g": ("learning", lambda: learning.curves(every, molecules)),
        "h": ("feature_space", lambda: feature_space.comparisons(every, molecules)),
        "i": ("degenerate_manifold", degenerate.manifold),
        "j": ("jacobians", sensitivity.spectra),
        "s": ("spline_accuracy", lambda: spline_accuracy.predictions(every)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=tuple("abcdefghijs"))
    parser.add_argument("--every", type=int, default=1, help="take every so many structures only")
    parser.add_argument("--molecules", type=Path, help="extxyz with H, C, N, O, for b, c, d, f, g and h")
    arguments = parser.parse_args()
    if arguments.figure in "bcdfgh" and arguments.molecules is None:
        parser.error(f"--molecules is needed for {arguments.figure}")
    RESULTS.mkdir(exist_ok=True)
    name, compute = figures(arguments.every, arguments.molecules)[arguments.figure]
    (RESULTS / f"{name}.json").write_text(json.dumps(compute(), indent=1) + "\n")


if __name__ == "__main__":
    main()
