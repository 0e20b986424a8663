"""Linear ridge regression of energies on multispectra, its strength by two-fold cross-validation (scikit-matter).

Rows are means over the atoms of a structure, with columns for each species of centres; what the composition explains
(e_0 of each species) is fitted without penalty, and taken out of rows and targets first. Each order has the same weight
in the penalty, whatever the magnitude of its features.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..frame import Array, Frame
from ..memory import require_memory
from ..models.multispectrum import DensityHypers, MultispectrumModel
from ..representation.config import ExpansionConfig
from ..representation.multispectrum import Multispectrum
from ..representation.multispectrum_fit import Show, all_coefficients, make, unseen

if TYPE_CHECKING:
    from ase import Atoms

ALPHAS = np.geomspace(1e-14, 1e-2, 25)
"""Of the ridge, relative to the largest eigenvalue."""


def fit_ridge(
    section: ExpansionConfig,
    structures: Sequence["Atoms"],
    energies: ArrayLike,
    *,
    seed: int = 0,
    show: Show = unseen,
) -> MultispectrumModel:
    """Fits the energies of structures.

    Args:
        section: the expansion, with `multispectrum`, and `contraction` if there are several species; all atoms are
            centres and neighbours.
        structures: for training; contraction and components are learned from them unless the section names others.
        energies: (S,), eV, of all atoms of each structure.
        seed: of the two folds.
        show: how loops are shown, for example `forceserver.cli.progress.progress`.

    Returns:
        The model; `save` writes it, `forceserver.potentials.multispectrum.MultispectrumPotential` computes with it.

    Raises:
        InputError: the section has no multispectrum or a choice of atoms, energies are not finite or not as many as
            structures, structures do not suffice, or more memory is needed than there is.
    """
    y = _checked(section, structures, energies)
    frames = [Frame.of(atoms) for atoms in structures]
    species = tuple(section.neighbour_species(structures))
    mixing, sum_species = _contraction(section, frames, species)
    hypers = DensityHypers(
        basis=section.basis,
        spline_tolerance=section.tolerance,
        centre_contribution=section.centre_contribution,
        sum_species=sum_species,
    )
    assert section.multispectrum is not None
    spectrum = make(section.multispectrum, hypers.expansion(species, mixing), frames, show=show)
    x, composition = rows(spectrum, frames, species, show)
    scale = np.tile(_scales(spectrum, x, len(species)), len(species))
    weights, alpha = _ridge(_without(composition, x * scale), _without(composition, y), seed)
    weights = weights * scale
    e_0 = np.linalg.lstsq(composition, y - x @ weights, rcond=None)[0]
    errors = x @ weights + composition @ e_0 - y
    summary = {
        "method": "Ridge2FoldCV",
        "structures": len(frames),
        "features": len(spectrum),
        "alpha": alpha,
        "seed": seed,
        "training_rmse_ev_per_atom": float(np.sqrt((errors**2).mean())),
    }
    return MultispectrumModel(
        species=species,
        energies=dict(zip(species, e_0.tolist(), strict=True)),
        density=hypers,
        mixing=mixing,
        levels=spectrum.levels,
        weights=dict(zip(species, np.split(weights, len(species)), strict=True)),
        summary=summary,
    )


def rows(
    spectrum: Multispectrum, frames: Sequence[Frame], species: Sequence[int], show: Show = unseen
) -> tuple[Array, Array]:
    """Mean features of structures (S, species * F), and their composition (S, species)."""
    width = len(spectrum)
    needed = 8.0 * 4 * len(frames) * width * len(species)
    require_memory(needed, f"ridge regression of {len(frames)} structures", "keep fewer invariants")
    x, composition = np.zeros((len(frames), len(species), width)), np.zeros((len(frames), len(species)))
    for row, share, frame in zip(x, composition, show(frames, "features", len(frames)), strict=True):
        coefficients, of_atoms, _ = all_coefficients(spectrum.expansion, [frame])
        features = spectrum.values(coefficients, of_atoms)
        for k, s in enumerate(species):
            mine = of_atoms == s
            row[k] = features[mine].sum(axis=0) / len(frame)
            share[k] = mine.mean()
    return x.reshape(len(frames), -1), composition


def _ridge(x: Array, y: Array, seed: int) -> tuple[Array, float]:
    """Weights (n,) of the columns of x (S, n), and the strength of the ridge, relative to the largest eigenvalue."""
    from skmatter.linear_model import Ridge2FoldCV

    ridge = Ridge2FoldCV(
        alphas=ALPHAS, alpha_type="relative", random_state=seed, scoring="neg_root_mean_squared_error"
    ).fit(x, y[:, None])
    return np.ravel(ridge.coef_), float(ridge.alpha_)


def _checked(section: ExpansionConfig, structures: Sequence["Atoms"], energies: ArrayLike) -> Array:
    """Energies per atom."""
    if section.multispectrum is None:
        raise InputError("fit_ridge: the section [expansion] has no multispectrum")
    if section.centres is not None or section.neighbours is not None:
        raise InputError("fit_ridge: all atoms are centres and neighbours; leave both out of [expansion]")
    y = np.asarray(energies, dtype=np.float64)
    if y.shape != (len(structures),) or not np.isfinite(y).all():
        raise InputError(f"fit_ridge: energies must be {len(structures)} finite numbers, got shape {y.shape}")
    if len(structures) < 4:
        raise InputError(f"fit_ridge: {len(structures)} structures are too few for two folds, at least 4 are needed")
    return np.asarray(y / [len(atoms) for atoms in structures])


def _contraction(
    section: ExpansionConfig, frames: Sequence[Frame], species: tuple[int, ...]
) -> tuple[dict[int, Array] | None, bool]:
    if section.contraction is None:
        return None, False
    made = section.contract(section.contraction, frames, list(species))
    return dict(made.matrices), made.sum_species


def _scales(spectrum: Multispectrum, x: Array, species: int) -> Array:
    """By which features are multiplied, (F,): each order has unit variance in all."""
    spread = (x.reshape(len(x), species, -1) - x.reshape(len(x), species, -1).mean(axis=0)).var(axis=0).sum(axis=0)
    of_order = np.bincount(spectrum.order_of, weights=spread, minlength=spectrum.nu + 1)
    return 1 / np.sqrt(np.maximum(of_order, 1e-300))[spectrum.order_of]


def _without(composition: Array, array: Array) -> Array:
    """What the composition does not explain."""
    return array - composition @ np.linalg.lstsq(composition, array, rcond=None)[0]
