"""(f): models of pairs with a few radial functions, of four bases: linear, with a kernel, what they leave out."""

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from common import RESULTS, TOLERANCE
from regressions import SPECIES, Molecules, kernel_errors, linear_errors, means, rmse

from forceserver.analysis.features import Split, reconstruction
from forceserver.frame import Frame
from forceserver.representation.contraction import Covariance, coefficients_of
from forceserver.representation.dvr import DvrBasis
from forceserver.representation.expansion import ExpansionBasis
from forceserver.representation.gto import GtoBasis
from forceserver.representation.spline import splined
from forceserver.representation.supervised import pcovr
from forceserver.representation.targets import Targets

COUNTS = (1, 2, 3, 4, 6, 8)
MANY = 20
FOLDS = 5
ZETA = 4
GAMMA = 0.5
ENVIRONMENTS = 1000


def basis(kind: type, n_max: int):
    """l = 0 only: the density of distances."""
    return kind(
        n_max=n_max,
        l_max=0,
        cutoff={"cutoff_angstrom": 4.0, "width_angstrom": 1.0},
        density={"kind": "gaussian", "sigma_angstrom": 0.2},
    )


class Pairs:
    """Coefficients c_{an00} of all molecules in some bases, and the models of them."""

    def __init__(self, data: Molecules) -> None:
        self.data = data
        self.frames = [Frame.of(atoms) for atoms in data.atoms]
        self.structure = np.repeat(np.arange(len(self.frames)), [len(frame) for frame in self.frames])
        self.species = np.concatenate([frame.species for frame in self.frames])
        self.many = self.coefficients(basis(GtoBasis, MANY))
        self.split = Split.of(self.structure, 0)
        self.rows = np.sort(np.random.default_rng(0).permutation(len(self.structure))[:ENVIRONMENTS])

    def coefficients(self, primitive) -> np.ndarray:
        """(C, A, n) of all atoms."""
        expansion = ExpansionBasis(dict.fromkeys(SPECIES, splined(primitive, TOLERANCE)))
        parts = [coefficients_of(expansion, frame, k)[0] for k, frame in enumerate(self.frames)]
        return np.concatenate([expansion.split(part)[0][:, :, 0] for part in parts])

    def contracted(self, q: int, train: np.ndarray, supervised: bool) -> np.ndarray:
        """(C, A, q) in functions that the training molecules choose."""
        frames = [self.frames[k] for k in train]
        covariance = Covariance.of(basis(GtoBasis, MANY), frames, SPECIES, tolerance=TOLERANCE)
        if supervised:
            targets = Targets.of(frames, self.data.totals(train))
            made = pcovr(covariance, targets, gamma=GAMMA, q_max=q, tolerance=TOLERANCE)
        else:
            made = covariance.contraction(q_max=q)
        return np.stack([self.many[:, k] @ made.matrices[s][0].T for k, s in enumerate(SPECIES)], axis=1)

    def kernel(self, x: np.ndarray) -> np.ndarray:
        """(S, S): means over pairs of atoms of the same species of (x_i . x_j / |x_i| |x_j|)^zeta."""
        x = x.reshape(len(x), -1)
        x = x / np.linalg.norm(x, axis=1)[:, None]
        total = np.zeros((len(self.frames), len(self.frames)))
        for s in SPECIES:
            mine = self.species == s
            of = self.structure[mine]
            share = (of[:, None] == np.arange(len(total))) / np.bincount(self.structure)
            total += share.T @ (x[mine] @ x[mine].T) ** ZETA @ share
        return total

    def errors(self, features: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        """RMSE (meV per atom) over five folds, and the GFRE of all functions; features: of training molecules."""
        folds = np.array_split(np.random.default_rng(1).permutation(len(self.frames)), FOLDS)
        linear, kernel = [], []
        for fold in folds:
            train = np.setdiff1d(np.arange(len(self.frames)), fold)
            x = features(train)
            linear.append(
                linear_errors(means(x.reshape(len(x), -1), self.structure, self.species), self.data, train, fold)
            )
            kernel.append(kernel_errors(self.kernel(x), self.data, train, fold))
        split = Split.of(self.structure[self.rows], 0)
        flat, whole = (part[self.rows].reshape(len(self.rows), -1) for part in (x, self.many))
        gfre = reconstruction(flat, whole, split)[0]
        return {"linear": rmse(np.concatenate(linear)), "kernel": rmse(np.concatenate(kernel)), "gfre": gfre}


def models(every: int, molecules: Path) -> dict:
    """Basis -> functions of each species -> errors."""
    pairs = Pairs(Molecules.read(molecules, every))
    found: dict = {"structures": len(pairs.frames), "folds": FOLDS, "gamma": GAMMA, "curves": {}}
    curves = found["curves"]
    for q in COUNTS:
        for name, kind in (("GTO", GtoBasis), ("DVR", DvrBasis)):
            x = pairs.coefficients(basis(kind, q))
            curves.setdefault(name, {})[q] = pairs.errors(lambda train, x=x: x)
        for name, supervised in (("PCA", False), ("PCovR", True)):
            make = lambda train, q=q, how=supervised: pairs.contracted(q, train, how)  # noqa: E731
            curves.setdefault(name, {})[q] = pairs.errors(make)
    found["all"] = pairs.errors(lambda train: pairs.many)
    _draw(found)
    return found


def _draw(found: dict) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.6), layout="constrained")
    titles = {"linear": "linear", "kernel": f"kernel, ζ = {ZETA}", "gfre": "GFRE of 20 functions"}
    for axis, (what, title) in zip(axes, titles.items(), strict=True):
        for name, curve in found["curves"].items():
            axis.semilogy(
                [int(q) for q in curve], [max(one[what], 1e-6) for one in curve.values()], ".-", ms=4, label=name
            )
        if what != "gfre":
            axis.axhline(found["all"][what], color="0.7", lw=0.7)
            axis.set_ylabel("error, meV/atom (5 folds)")
            axis.set_yticks([20, 30, 40, 50])
            axis.yaxis.set_major_formatter("{x:.0f}")
        axis.set(title=title, xlabel="functions of each species")
        axis.yaxis.set_minor_formatter("")
    axes[0].legend()
    figure.savefig(RESULTS / "two_bodies.png", dpi=110)
