"""Rotation invariants of the spherical expansion: power spectrum (SOAP) and bispectrum.

    p^i_{a n, a' n', l} = w (-1)^l / sqrt(2 l + 1) sum_m c^i_{a n l m} c^i_{a' n' l m}

(Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013); the factor is the Clebsch-Gordan coefficient that couples l and
l and l to 0; its sign drops out of scalar products). Features that differ only by the exchange (a n) <-> (a' n') are
equal; one of them is kept, with w = sqrt(2), so that scalar products equal those of the full set. The values equal
featomic's, which keeps both (n, n') and (n', n) for a = a', with w = 1.
"""

from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _ext
from .couplings import real_wigner_3j
from .expansion import ExpansionBasis, SphericalExpansion
from .lanes import LANES, aligned_zeros, round_to_lanes
from .neighbours import NeighbourList, check_array

_kernel = _ext.kernel("invariants")


class PowerSpectrumBasis:
    """A choice of features of the power spectrum of an expansion.

    expansion: the coefficients.
    features: (n_features, 5) integers, columns block, n, block', n', l, as in `all_features`; only these are computed,
        in this order. All by default. A block is an index into expansion.species (or 0 if species are summed).
    normalise: whether the features of a centre are divided by their length.
    multiplicity: (n_features,), 1 or 2, how often each feature counts in scalar products; by default 1 for features
        with two equal sides, and 2 (both orders of the sides) for all others.

    ValueError: no feature, a feature given twice (also with its sides exchanged), or indices out of range.
    """

    def __init__(
        self,
        expansion: ExpansionBasis,
        features: ArrayLike | None = None,
        *,
        normalise: bool = False,
        multiplicity: ArrayLike | None = None,
    ) -> None:
        self.expansion = expansion
        self.normalise = normalise
        self.features = _checked(all_features(expansion) if features is None else features, expansion)
        b1, n1, b2, n2, l = self.features.T
        offset = np.zeros(max(expansion.counts) + 1, dtype=np.int64)
        stride = np.ones_like(offset)
        for degree, start in expansion.offsets.items():
            offset[degree] = start
            stride[degree] = round_to_lanes(expansion.counts[degree])
        first = b1 * expansion.size + offset[l] + n1
        second = b2 * expansion.size + offset[l] + n2
        counts = np.where(first == second, 1, 2) if multiplicity is None else np.asarray(multiplicity)
        if counts.shape != l.shape or not np.isin(counts, (1, 2)).all():
            raise ValueError(f"multiplicity: must be {len(l)} numbers that are 1 or 2, got {multiplicity!r}")
        self.weight = weight = np.sqrt(counts) * (-1.0) ** l / np.sqrt(2 * l + 1)
        number = np.arange(len(l))
        # Lanes are filled along the longer side; the derivative needs both sides.
        self.terms = _terms(first, second, l, stride[l], number, weight)
        l, number, weight = (np.tile(array, 2) for array in (l, number, weight))
        first, second = np.concatenate([first, second]), np.concatenate([second, first])
        self.derivative_terms = _terms(first, second, l, stride[l], number, weight)

        self._multiplicity = multiplicity

    def __len__(self) -> int:
        """Number of features."""
        return len(self.features)

    def raw(self) -> "PowerSpectrumBasis":
        """The same, not normalised."""
        return PowerSpectrumBasis(self.expansion, self.features, multiplicity=self._multiplicity)

    def at(self, neighbours: NeighbourList) -> "PowerSpectrum":
        """The power spectrum of the centres of a list."""
        return PowerSpectrum(self, neighbours)


class PowerSpectrum:
    """The power spectrum over one neighbour list; keeps its work space, and overwrites arrays it returned before."""

    def __init__(self, basis: PowerSpectrumBasis, neighbours: NeighbourList) -> None:
        self.basis = basis
        self.expansion = SphericalExpansion(basis.expansion, neighbours)
        n_centres = len(neighbours.centres)
        self._values = np.zeros((n_centres, len(basis)))
        self._norm = np.ones(n_centres)
        self._coefficients: NDArray | None = None
        self._gradient: NDArray | None = None
        self._work = np.empty((_ext.cpu.max_threads(), len(basis)))

    def values(self) -> NDArray[np.float64]:
        """Features (n_centres, n_features) at the positions last given to the neighbour list.

        A centre without neighbours and without its own contribution has zeros, even if features are normalised.
        ValueError if a neighbour is closer than 1e-8 Angstrom to its centre.
        """
        self._coefficients = self.expansion.values()
        _kernel.power_spectrum(self._coefficients, *self.basis.terms, self.basis.normalise, self._values, self._norm)
        return self._values

    def vjp(self, gradient: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Forces (N, 3) and virial (3, 3) of an energy with dE/dp = gradient (n_centres, n_features).

        For the positions of the last `values`, which must have been called. ValueError: wrong shape or dtype.
        """
        check_array("gradient", gradient, self._values.shape)
        if self._coefficients is None:
            raise RuntimeError("PowerSpectrum.vjp: call values() first; the derivative is taken there")
        if self._gradient is None:
            self._gradient = aligned_zeros(self._coefficients.shape)
        _kernel.pull_back(
            self._coefficients, *self.basis.derivative_terms, self.basis.normalise, self._values, self._norm,
            gradient, self._work, self._gradient,
        )  # fmt: skip
        return self.expansion.vjp(self._gradient)


def all_features(expansion: ExpansionBasis) -> NDArray[np.int32]:
    """Every feature once, (n_features, 5): columns block, n, block', n', l; sorted by block, block', l, n, n'."""
    rows = []
    for b1, b2 in combinations_with_replacement(range(expansion.n_blocks), 2):
        for l, n in expansion.counts.items():
            n1, n2 = np.triu_indices(n) if b1 == b2 else (part.ravel() for part in np.indices((n, n)))
            rows.append(np.stack([np.full_like(n1, b1), n1, np.full_like(n1, b2), n2, np.full_like(n1, l)], axis=1))
    return np.concatenate(rows).astype(np.int32)


def _checked(features: ArrayLike, expansion: ExpansionBasis) -> NDArray[np.int32]:
    features = np.asarray(features)
    if features.ndim != 2 or features.shape[1] != 5 or features.dtype.kind not in "iu" or len(features) == 0:
        raise ValueError(
            f"features: must be integers of shape (n_features >= 1, 5), got {features.dtype} {features.shape}"
        )
    b1, n1, b2, n2, l = features.T
    if min(b1.min(), b2.min()) < 0 or max(b1.max(), b2.max()) >= expansion.n_blocks:
        raise ValueError(f"features: blocks (columns 0 and 2) must be in 0 .. {expansion.n_blocks - 1}")
    if not set(l.tolist()) <= set(expansion.counts):
        raise ValueError(f"features: l (column 4) must be one of {list(expansion.counts)}")
    limit = np.array([expansion.counts[degree] for degree in l.tolist()])
    if np.any((np.minimum(n1, n2) < 0) | (np.maximum(n1, n2) >= limit)):
        raise ValueError(
            "features: n (columns 1 and 3) must be at least 0 and below the number of radial functions of l"
        )
    swapped = np.where(((b1 > b2) | ((b1 == b2) & (n1 > n2)))[:, None], features[:, [2, 3, 0, 1, 4]], features)
    if len(np.unique(swapped, axis=0)) < len(features):
        raise ValueError("features: a feature is given twice (exchanging its two sides makes no other feature)")
    return features.astype(np.int32)


def _terms(source, target, l, stride, number, weight) -> tuple[NDArray, NDArray, NDArray]:
    """The arrays of the kernel: terms (n, 4), feature (n, 8), weight (n, 8), sorted by target."""
    tile, lane = target - target % LANES, target % LANES
    order = np.lexsort([lane, source, tile])
    tile, source, lane, l, stride, number, weight = (
        part[order] for part in (tile, source, lane, l, stride, number, weight)
    )
    key = np.stack([source, tile, lane], axis=1)
    # For the derivative, a channel coupled with itself occurs twice in the same lane: each gets its own term.
    new = np.ones(len(key), dtype=bool)
    same = (key[1:] == key[:-1]).all(axis=1)
    new[1:] = (key[1:, :2] != key[:-1, :2]).any(axis=1) | same
    term = np.cumsum(new) - 1
    terms = np.stack([source, tile, 2 * l + 1, stride], axis=1)[new].astype(np.int32)
    feature = np.zeros((len(terms), LANES), dtype=np.int32)
    lanes = np.zeros((len(terms), LANES))
    feature[term, lane] = number
    lanes[term, lane] = weight
    return np.ascontiguousarray(terms), feature, lanes


def bispectrum(expansion: ExpansionBasis, coefficients: NDArray[np.float64]) -> dict[tuple[int, int, int], NDArray]:
    """Bispectrum of coefficients (n_centres, n_blocks, size), values only.

        b_{q1 q2 q3} = sum_{m1 m2 m3} W c_{q1 l1 m1} c_{q2 l2 m2} c_{q3 l3 m3},    q = block * n_l + n

    with the Wigner 3j symbols W of real spherical harmonics; l1 <= l2 <= l3 <= l1 + l2, l1 + l2 + l3 even (the others
    change sign on inversion). Returns {(l1, l2, l3): (n_centres, q1, q2, q3)}.
    """
    check_array("coefficients", coefficients, (len(coefficients), expansion.n_blocks, expansion.size))
    by_l = {
        l: np.moveaxis(part, 2, 1).reshape(len(part), 2 * l + 1, -1)
        for l, part in expansion.split(coefficients).items()
    }
    result = {}
    for triple in combinations_with_replacement(sorted(by_l), 3):
        l1, l2, l3 = triple
        if l3 > l1 + l2 or sum(triple) % 2:
            continue
        coupled = np.einsum("abc,iax,iby->ixyc", real_wigner_3j(*triple), by_l[l1], by_l[l2], optimize=True)
        result[triple] = np.einsum("ixyc,icz->ixyz", coupled, by_l[l3])
    return result
