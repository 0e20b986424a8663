"""How similar the environments of a structure are to those of reference structures.

    k_ij = (p_i . q_j)^zeta                                  SOAP kernel of a centre and an environment of a reference
    k_iR = sum_j v_j k_ij exp(kappa k_ij) / sum_j v_j exp(kappa k_ij)        over the environments of reference R
    K_R  = sum_i w_i k_iR                                    over the centres

with power spectra p and q of unit length. A centre is compared with environments of its own species only; k_iR is the
best match among them, made smooth by kappa, so that a perfect copy of the reference has K_R = 1 however many different
environments it has. v_j counts environments that are the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..elements import symbols
from ..errors import InputError
from ..frame import Array, Frame
from ..representation.invariants import PowerSpectrum, PowerSpectrumBasis
from ..representation.neighbours import NeighbourList, Selection

DIGITS = 10  # in which environments agree that are the same


@dataclass(frozen=True, eq=False)
class Spectra:
    """species: of some centres, (n,). features: (n, F), of unit length."""

    species: NDArray[np.int32]
    features: Array


@dataclass(frozen=True, eq=False)
class Environments:
    """Those of all references with centres of one species.

    spectra: (M, F). counts: (M,), how many environments each stands for. first: (R + 1,) where each reference begins.
    """

    spectra: Array
    counts: Array
    first: NDArray[np.intp]


class References:
    """The environments of R structures, by species of their centres.

    zeta: exponent of the kernel. sharpness: kappa.
    """

    def __init__(self, environments: Mapping[int, Environments], zeta: int, sharpness: float) -> None:
        self._environments = dict(environments)
        self._zeta = zeta
        self._sharpness = sharpness
        self.count = len(next(iter(environments.values())).first) - 1

    @classmethod
    def of(cls, spectra: Sequence["Spectra"], species: Sequence[int], zeta: int, sharpness: float) -> "References":
        """From the spectra of structures; species: of the centres that will be compared.

        `InputError`: a structure has no such centres.
        """
        environments = {}
        for s in species:
            parts = []
            for number, one in enumerate(spectra, 1):
                mine = one.features[one.species == s]
                if not len(mine):
                    there = symbols(sorted(set(one.species.tolist())))
                    raise InputError(
                        f"references: structure {number} has no centre {symbols([s])}, only {there}: those of another "
                        "species are not comparable"
                    )
                _, row, counts = np.unique(mine.round(DIGITS), axis=0, return_index=True, return_counts=True)
                parts.append((mine[row], counts.astype(np.float64)))
            first = np.cumsum([0, *(len(counts) for _, counts in parts)])
            known, numbers = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
            environments[s] = Environments(known, numbers, first)
        return cls(environments, zeta, sharpness)

    def similarities(self, spectra: "Spectra") -> "Similarities":
        """Those of centres to each reference."""
        values = np.empty((len(spectra.species), self.count))
        slopes = {}
        for s, known in self._environments.items():
            rows = np.flatnonzero(spectra.species == s)
            overlap = spectra.features[rows] @ known.spectra.T
            kernel = overlap**self._zeta
            slope = self._zeta * overlap ** (self._zeta - 1)
            for r, (start, stop) in enumerate(zip(known.first[:-1], known.first[1:], strict=True)):
                k = kernel[:, start:stop]
                weight = known.counts[start:stop] * np.exp(self._sharpness * (k - k.max(axis=1, keepdims=True)))
                weight /= weight.sum(axis=1, keepdims=True)
                best = np.einsum("ij,ij->i", weight, k)
                values[rows, r] = best
                slope[:, start:stop] *= weight * (1 + self._sharpness * (k - best[:, None]))
            slopes[s] = rows, slope
        return Similarities(values, self._environments, slopes)


@dataclass(frozen=True, eq=False)
class Similarities:
    """values: k_iR (n, R). slopes: for each species the places of its centres, and dk_iR / d(p_i . q_j)."""

    values: Array
    environments: Mapping[int, Environments]
    slopes: Mapping[int, tuple[NDArray, Array]]

    def derivative(self, by_reference: Array) -> Array:
        """With respect to the spectra (n, F), of sum_R by_reference[R] sum_i k_iR."""
        n_features = next(iter(self.environments.values())).spectra.shape[1]
        out = np.zeros((len(self.values), n_features))
        for s, (rows, slope) in self.slopes.items():
            known = self.environments[s]
            out[rows] = (slope * np.repeat(by_reference, np.diff(known.first))) @ known.spectra
        return out


def spectra_of(
    frame: Frame, number: int, basis: PowerSpectrumBasis, centres: Selection, neighbours: Selection
) -> Spectra:
    """Those of the centres that a reference structure has; number: its own, for messages.

    `InputError`: it has no such centres, or neighbours that the features do not know.
    """
    present = set(frame.species.tolist())

    def there(chosen: Selection) -> Selection:
        return chosen if chosen.species is None else Selection(species=tuple(s for s in chosen.species if s in present))

    if there(centres).species == ():
        found = symbols(sorted(present))
        raise InputError(f"references: structure {number} has no centre {symbols(centres.species or ())}, only {found}")
    try:
        pairs = NeighbourList(
            frame.species, basis.expansion.cutoff, pbc=frame.pbc, centres=there(centres), neighbours=there(neighbours)
        )
        pairs.update(frame.positions, frame.cell)
        unknown = sorted(set(pairs.neighbour_species) - set(basis.expansion.species))
        if unknown:
            raise ValueError(f"has neighbours {symbols(unknown)}, which the structure of the simulation has not")
        return Spectra(pairs.species[pairs.centres], PowerSpectrum(basis, pairs).values().copy())
    except ValueError as error:
        raise InputError(f"references: structure {number}: {error}") from error
