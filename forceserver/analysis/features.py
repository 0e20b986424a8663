"""Measures of what features know, before any model is trained; those of scikit-matter, with a split by structures.

    GFRE(F -> F')    how badly a linear map of features F reconstructs F': 0 if it can, 1 if it reconstructs nothing
    GFRD(F -> F')    by how much the best such map distorts: what of it no rotation can do
    LFRE(F -> F')    the error of linear maps fitted around each test point
    LPR              how firmly training structures hold a linear model's prediction for one environment

Features are centred and scaled together to unit variance. (Goscinski, Fraux, Imbalzano, Ceriotti, Mach. Learn.: Sci.
Technol. 2, 025028 (2021); Chong et al., J. Chem. Theory Comput. 19, 8020 (2023).)
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from ..errors import InputError
from ..frame import Array
from ..memory import require_memory
from ..representation.multispectrum_fit import Show, unseen
from ..representation.scatter import alike

PERCENTILES = (50, 90, 99, 100)
PARTS = 20
"""Steps of the bar of LFRE."""
RANK = 1e-13
"""Of eigenvalues of kernels, below which they are rounding."""
FEWEST = 8
"""Environments: two folds of two halves of two each."""


@dataclass(frozen=True, eq=False)
class Split:
    """Rows for training and for testing; by: "structure", or "environment" if there is one structure only."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]
    by: str
    seed: int

    @classmethod
    def of(cls, structure: ArrayLike, seed: int = 0, train_fraction: float = 0.5) -> "Split":
        """Whole structures at random, so that test environments have no neighbour in the training set.

        structure: (C,), of each environment. `InputError` for fewer than eight environments.
        """
        structure = np.asarray(structure)
        if len(structure) < FEWEST:
            raise InputError(f"compare: {len(structure)} environments are too few, at least {FEWEST} are needed")
        groups = np.unique(structure)
        by = "structure" if len(groups) > 1 else "environment"
        order = np.random.default_rng(seed).permutation(groups if by == "structure" else np.arange(len(structure)))
        chosen = order[: min(len(order) - 1, max(1, round(train_fraction * len(order))))]
        member = np.isin(structure, chosen) if by == "structure" else np.isin(np.arange(len(structure)), chosen)
        train, test = np.flatnonzero(member), np.flatnonzero(~member)
        if min(len(train), len(test)) < FEWEST // 2:
            raise InputError(
                f"compare: {len(train)} environments for training and {len(test)} for testing are too few; "
                "give more structures, or another fraction or seed"
            )
        return cls(train, test, by, seed)


def memory(environments: int, *features: int) -> float:
    """Bytes that comparing takes: features, their compact copies, the factors of ridge and orthogonal regression."""
    compact = [min(environments, number) for number in features]
    return 8.0 * (2 * environments * sum(features) + 6 * environments * sum(compact) + 4 * max(compact) ** 2)


def require(environments: int, *features: int) -> None:
    """`InputError` if so many features of so many environments cannot be compared here."""
    what = f"comparing {' and '.join(map(str, features))} features of {environments} environments"
    require_memory(memory(environments, *features), what, "take fewer environments or features")


def compact(x: Array) -> Array:
    """Features (C, at most C) with the same scalar products: coordinates in the space that the environments span.

    Of the measures, those of scikit-matter may change by a few per cent: it chooses the strength of a regression by the
    mean error of the columns, which are other ones now.
    """
    if not np.isfinite(x).all():
        raise InputError("compare: there are features that are not finite")
    return x if x.shape[1] <= x.shape[0] else np.ascontiguousarray(linalg.qr(x.T, mode="r")[0][: len(x)].T)


def kernel_features(x: Array, zeta: int) -> Array:
    """Features (C, rank) whose scalar products are the kernel (x_i . x_j / |x_i| |x_j|)^zeta: those that it induces.

    `InputError` for an environment without features.
    """
    lengths = np.linalg.norm(x, axis=1)
    if not lengths.all():
        raise InputError("compare: an environment has no neighbours, hence no direction for a kernel; leave zeta out")
    unit = x / lengths[:, None]
    values, vectors = linalg.eigh((unit @ unit.T) ** zeta)
    kept = values > RANK * values[-1]
    return np.ascontiguousarray(vectors[:, kept] * np.sqrt(values[kept]))


def reconstruction(x: Array, y: Array, split: Split) -> tuple[float, float]:
    """GFRE and GFRD of y (C, F') from x (C, F), each over the test rows."""
    from skmatter.metrics import global_reconstruction_distortion, global_reconstruction_error

    _check(x, y, split)
    rows = {"train_idx": split.train, "test_idx": split.test}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a matrix that is divided by a singular value of zero, and cut off then
        error = global_reconstruction_error(x, y, **rows)
        # scikit-matter's orthogonal regression answers in as many columns as the wider side has
        wide = np.pad(y, ((0, 0), (0, max(0, x.shape[1] - y.shape[1]))))
        return float(error), float(global_reconstruction_distortion(x, wide, **rows))


def local_reconstruction(
    x: Array, y: Array, split: Split, points: int, tests: int, show: Show = unseen, title: str = "LFRE"
) -> Array:
    """LFRE of `tests` test rows at random, or all: y from x by maps fitted to the nearest `points` training rows.

    `InputError` for more points than training rows.
    """
    from skmatter.metrics import pointwise_local_reconstruction_error

    _check(x, y, split)
    if not FEWEST // 2 <= points <= len(split.train):
        raise InputError(f"local points: {points} must be in {FEWEST // 2} .. {len(split.train)}, the training rows")
    chosen = np.random.default_rng(split.seed).permutation(split.test)[:tests]
    parts = np.array_split(np.sort(chosen), min(PARTS, len(chosen)))
    found = [
        pointwise_local_reconstruction_error(x, y, points, train_idx=split.train, test_idx=rows)
        for rows in show(parts, title, len(parts))
    ]
    return np.concatenate(found)


def percentiles(values: Array) -> dict[str, float]:
    """Of what is told point by point."""
    return {str(p): float(v) for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}


def rigidity(x: Array, structure: ArrayLike, split: Split, regulariser: float) -> Array:
    """LPR (test,) of every test row, for a linear model of structures; the features have unit mean square.

    `InputError` if the split is not by structures.
    """
    from skmatter.metrics import local_prediction_rigidity

    if split.by != "structure":
        raise InputError("compare: the rigidity needs several structures")
    structure = np.asarray(structure)
    train = [x[split.train][structure[split.train] == s] for s in np.unique(structure[split.train])]
    found, _ = local_prediction_rigidity(train, [x[split.test]], regulariser)
    return np.asarray(found[0])


def _check(x: Array, y: Array, split: Split) -> None:
    for name, features in (("A", x), ("B", y)):
        for rows in (split.train, split.test):
            if alike(features[rows]):
                raise InputError(f"compare: the features of {name} are the same for all environments of a half")
