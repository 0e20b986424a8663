"""Sparse points and features, chosen by scikit-matter among the environments of the training structures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

from ..errors import InputError
from ..frame import Array, Frame
from ..representation.invariants import PowerSpectrumBasis
from ..representation.neighbours import NeighbourList
from ..representation.scaled_multispectrum import ScaledMultispectrum
from .config import SoapDescriptor
from .progress import Progress, silent

DIFFERENT = 1e-12
"""Environments whose normalised features are closer than this (squared) are one."""


def environments(
    basis: PowerSpectrumBasis | ScaledMultispectrum,
    frames: Sequence[Frame],
    seed: int,
    most: int,
    progress: Progress = silent,
) -> tuple[Array, Array]:
    """Features (n, F) and species (n,) of the centres of all frames; `most` of them at random, if there are more.

    `InputError` with the number of the structure if two atoms are on one place.
    """
    total = sum(map(len, frames))
    kept = np.ones(total, dtype=bool)
    if total > most:
        kept[:] = False
        kept[np.random.default_rng(seed).choice(total, most, replace=False)] = True
    features, species, first = np.empty((int(kept.sum()), len(basis))), [], 0
    row = 0
    for number, frame in enumerate(progress(frames, "features", len(frames))):
        mine = kept[first : first + len(frame)]
        first += len(frame)
        neighbours = NeighbourList(frame.species, basis.expansion.cutoff, pbc=frame.pbc)
        try:
            neighbours.update(frame.positions, frame.cell)
            values = basis.at(neighbours).values()[mine]
        except ValueError as error:
            raise InputError(f"training structure {number}: {error}") from error
        features[row : row + len(values)] = values
        row += len(values)
        species.append(frame.species[mine])
    return features, np.concatenate(species)


def choose_features(x: Array, count: int, how: str) -> Array:
    """Places of `count` columns of x, ascending; `InputError` if there are fewer."""
    if count > x.shape[1]:
        raise InputError(f"n_features = {count}: the descriptor has {x.shape[1]} features only")
    from skmatter.feature_selection import CUR, FPS

    selector = FPS(n_to_select=count) if how == "fps" else CUR(n_to_select=count)
    return np.sort(selector.fit(_as_few_rows(x)).selected_idx_)


def _as_few_rows(x: Array) -> Array:
    """Rows, no more than columns, with the same scalar products of columns, which are all that a choice depends on."""
    if len(x) <= x.shape[1]:
        return x
    r: Array = qr(x, mode="r", check_finite=False)[0][: x.shape[1]]
    return r


def choose_points(x: Array, descriptor: SoapDescriptor, symbol: str, seed: int, most: int = 1000) -> Array:
    """Different rows of x, (n_sparse, F); `most` at most if the descriptor does not say how many.

    `InputError` if there are fewer than it says.
    """
    different = np.unique(np.round(x / np.sqrt(DIFFERENT)), axis=0, return_index=True)[1]
    count, how = descriptor.n_sparse or min(most, len(different)), descriptor.sparse_selection
    if count > len(different):
        raise InputError(
            f"n_sparse = {count}: there are {len(different)} different environments of {symbol} in the training "
            "structures only"
        )
    x = x[np.sort(different)]
    if count == len(x):
        return x
    if how == "random":
        return x[np.sort(np.random.default_rng(seed).choice(len(x), count, replace=False))]
    from skmatter.sample_selection import FPS

    chosen = FPS(n_to_select=count).fit(x).selected_idx_ if how == "fps" else leverage(x, count, seed)
    return np.ascontiguousarray(x[chosen])


def leverage(x: Array, count: int, seed: int) -> NDArray[np.int64]:
    """CUR of more rows than x has rank: rows drawn without replacement, with their leverage scores as probabilities.

    Mahoney, Drineas, PNAS 106, 697 (2009); the selection of `gap_fit`. scikit-matter's CUR is deterministic and
    spends a singular value decomposition on every row.
    """
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    scores = (u[:, s > s[0] * 1e-10] ** 2).sum(axis=1)
    return np.random.default_rng(seed).choice(len(x), count, replace=False, p=scores / scores.sum())
