"""Linear functions of the power spectrum that structures teach: what tells most of them apart, or predicts a label.

    pca      principal components of the environments of all centres
    lda      linear discriminants of labelled environments, with Ledoit and Wolf's shrinkage of their covariance
    ridge    a regression of a number on the features, its regularisation chosen by two-fold cross-validation

by scikit-learn and scikit-matter. A label belongs to every atom (a column of the structures) or to a structure, which
then gives it to all its centres, or, in a regression, to the mean over them.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..frame import Array, Frame
from ..representation.config import selection
from ..representation.scatter import ROUNDING, alike
from .linear_functions import LinearFunctions, features
from .power_spectrum import PowerSpectrumConfig
from .samples import Samples, neighbour_species

if TYPE_CHECKING:
    from ase import Atoms

log = logging.getLogger(__name__)

Method = Literal["pca", "lda", "ridge"]
ALPHAS = np.logspace(-12, -1, 23)
"""Regularisations that a regression tries, as fractions of the largest singular value."""


def fit_variable(
    config: PowerSpectrumConfig,
    structures: Sequence["Atoms"],
    method: Method,
    *,
    label: str | None = None,
    components: int | None = None,
) -> LinearFunctions:
    """Fits the weights of a variable.

    Args:
        config: its section; the basis, the centres and neighbours, `normalise` and `contraction` count.
        structures: ASE `Atoms`.
        method: see above.
        label: name of the label, needed by "lda" and "ridge".
        components: how many principal components (2 by default) or discriminants (all, one less than classes).

    Returns:
        The functions; `summary` holds what is known of their quality, such as explained variances, the accuracy of a
        classification of structures that were left out, or errors of a regression.

    Raises:
        InputError: structures without centres, labels that are missing, of the wrong sort or all equal.
    """
    if (label is None) != (method == "pca"):
        raise InputError(f"{method}: {'has no labels' if method == 'pca' else 'needs the name of a label'}")
    species = neighbour_species(config, structures)
    matrices, sum_species = _contracted(config, structures, species)
    basis = features(
        config.basis, species, matrices, sum_species, normalise=config.normalise, tolerance=config.tolerance
    )
    samples = Samples.of(config, basis, structures, label, of_structures=method == "ridge")
    if alike(samples.features):
        raise InputError(f"{method}: all environments are alike, as in a perfect crystal; give structures that differ")
    if method == "pca":
        names, weights, offsets, summary = _principal(samples, components)
    elif method == "lda":
        names, weights, offsets, summary = _discriminants(samples, components)
    else:
        names, weights, offsets, summary = _regression(samples, str(label))
    summary = {
        "method": method,
        "label": label,
        "structures": len(structures),
        "samples": len(samples.features),
    } | summary
    return LinearFunctions(
        config.basis, species, names, weights, offsets, config.normalise, sum_species, matrices, summary
    )


Fitted = tuple[tuple[str, ...], Array, Array, dict[str, Any]]
"""Names, weights (d, F), offsets (d,), and what is known of their quality."""


def _principal(samples: Samples, components: int | None) -> Fitted:
    from sklearn.decomposition import PCA

    most = min(samples.features.shape)
    count = _count(min(2, most) if components is None else components, most, "environments and features")
    pca = PCA(n_components=count).fit(samples.features)
    weights = pca.components_ * np.sign(_largest(pca.components_))[:, None]
    names = tuple(f"pc{k}" for k in range(1, count + 1))
    noise = ROUNDING * np.linalg.norm(samples.features) / np.sqrt(len(samples.features))
    if none := [name for name, spread in zip(names, np.sqrt(pca.explained_variance_), strict=True) if spread <= noise]:
        log.warning("%s: the structures do not differ in so many directions; choose fewer components", ", ".join(none))
    summary = {"explained_variance": pca.explained_variance_ratio_.tolist()}
    return names, weights, -weights @ pca.mean_, summary


def _discriminants(samples: Samples, components: int | None) -> Fitted:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    assert samples.labels is not None
    classes, numbers = np.unique(samples.labels, return_counts=True)
    if len(classes) < 2:
        raise InputError(f"lda: all labels are {str(classes[0])!r}; there must be two classes at least")
    if numbers.min() < 2:
        raise InputError(
            f"lda: only one environment is labelled {str(classes[numbers.argmin()])!r}; give more structures"
        )
    _check_scatter(samples.features, samples.labels)
    count = _count(len(classes) - 1 if components is None else components, len(classes) - 1, "classes, less one")
    make = lambda: LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")  # noqa: E731
    lda = make().fit(samples.features, samples.labels)
    weights = lda.scalings_.T[:count]
    values = samples.features @ weights.T
    means = np.array([values[samples.labels == c].mean(axis=0) for c in classes])
    signs = np.where(means[-1] < means[0], -1.0, 1.0)
    weights, means = weights * signs[:, None], means * signs
    offsets = -weights @ samples.features.mean(axis=0)
    spread = np.array([(values[samples.labels == c]).std(axis=0) for c in classes])
    summary = {
        "classes": [str(c) for c in classes],
        "means": (means + offsets).tolist(),
        "standard_deviations": spread.tolist(),
        "accuracy": _accuracy(make, samples),
    }
    return tuple(f"ld{k}" for k in range(1, count + 1)), weights, offsets, summary


def _check_scatter(features: Array, labels: NDArray) -> None:
    """Discriminants are measured in the scatter within classes: `InputError` without any, as in perfect crystals."""
    classes = np.unique(labels)
    still = [str(c) for c in classes if alike(features[labels == c])]
    told = f"all environments of class {', '.join(still)} are alike, as in a perfect crystal"
    if len(still) == len(classes):
        raise InputError(f"lda: {told}; give frames of molecular dynamics at the temperature of the simulation")
    if still:
        log.warning("%s: its scatter is taken from the other classes", told)


def _regression(samples: Samples, label: str) -> Fitted:
    from skmatter.linear_model import Ridge2FoldCV
    from skmatter.preprocessing import StandardFlexibleScaler

    x, y = samples.features, _numbers(samples.labels, label)
    if len(y) < 4:
        raise InputError(f"ridge: {len(y)} samples are too few for a cross-validation; give 4 structures at least")
    if np.ptp(y) == 0:
        raise InputError(f"ridge: the label {label!r} is {y[0]:g} everywhere; there is nothing to learn")
    scaler = StandardFlexibleScaler(column_wise=False).fit(x)
    ridge = Ridge2FoldCV(alphas=ALPHAS, alpha_type="relative", regularization_method="tikhonov", random_state=0)
    mean = y.mean()
    ridge.fit(scaler.transform(x), y - mean)
    weights = np.reshape(ridge.coef_, (1, -1)) / scaler.scale_
    offsets = mean - weights @ x.mean(axis=0)
    residual = y - (x @ weights[0] + offsets[0])
    summary = {
        "alpha": float(ridge.alpha_),
        "rmse": float(np.sqrt(np.mean(residual**2))),
        "rmse_left_out": float(np.sqrt(-ridge.best_score_)) if ridge.best_score_ <= 0 else None,
        "standard_deviation": float(y.std()),
    }
    name = label if label.isidentifier() and label.isascii() and label[0] != "_" else "value"
    return (name,), weights, offsets, summary


def _accuracy(make: Any, samples: Samples) -> float | None:
    """Of a classification of structures that were left out; None if there are not enough of every class."""
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_score

    assert samples.labels is not None
    homes = [len(np.unique(samples.structures[samples.labels == c])) for c in np.unique(samples.labels)]
    folds = min(5, *homes)
    if folds < 2:
        return None
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    scores = cross_val_score(make(), samples.features, samples.labels, groups=samples.structures, cv=parts)
    return float(scores.mean())


def _numbers(labels: NDArray | None, name: str) -> Array:
    assert labels is not None
    try:
        numbers = labels.astype(np.float64)
    except ValueError:
        word = next(str(x) for x in labels if not _is_number(x))
        raise InputError(
            f"ridge: the label {name!r} is {word!r} somewhere, must be a number; lda takes words"
        ) from None
    if not np.isfinite(numbers).all():
        raise InputError(f"ridge: the label {name!r} is not finite somewhere")
    return numbers


def _is_number(word: Any) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _contracted(
    config: PowerSpectrumConfig, structures: Sequence["Atoms"], species: tuple[int, ...]
) -> tuple[dict[int, Array] | None, bool]:
    if config.contraction is None:
        return None, False
    made = config.contraction.make(
        config.basis,
        map(Frame.from_ase, structures),
        species,
        centres=selection(config.centres),
        neighbours=selection(config.neighbours),
        tolerance=config.tolerance,
    )
    return dict(made.matrices), made.sum_species


def _count(wanted: int, most: int, of: str) -> int:
    if not 1 <= wanted <= most:
        raise InputError(f"components = {wanted}: must be 1 to {most}, the number of {of}")
    return wanted


def _largest(rows: Array) -> Array:
    """The number of largest magnitude in each row."""
    return np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)[:, 0]
