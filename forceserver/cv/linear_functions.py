"""Linear functions of a power spectrum, and their file: what `forceserver cv fit` writes and a variable reads.

    f_k = sum_f w_kf p_f + o_k

The file is one `.npz` without pickles: a header (JSON) with the basis, the species of neighbours, whether features are
normalised, names and method; arrays weights (d, F), offsets (d,), and, of contracted functions, matrices/Z. The F
features are all of the basis, in the order of `invariants.all_features`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field

from ..elements import symbols
from ..errors import InputError
from ..frame import Array
from ..headed_files import load_headed, save_headed
from ..npy_files import Claim
from ..representation.bases import AnyRadialBasis
from ..representation.contraction import contracted, functions
from ..representation.expansion import ExpansionBasis
from ..representation.invariants import PowerSpectrumBasis
from ..representation.spline import splined
from ..sections import Distinct, Section
from .base import Name

VERSION: Final = 1
MOST_FUNCTIONS = 4096


class LinearHeader(Section):
    """The header of a file."""

    format: Literal["forceserver linear variable"] = "forceserver linear variable"
    version: Literal[1] = VERSION
    length: Literal["angstrom"] = "angstrom"
    basis: AnyRadialBasis
    normalise: bool
    sum_species: bool = False
    species: tuple[Annotated[int, Field(ge=1, le=118)], ...] = Field(min_length=1)
    names: Annotated[tuple[Name, ...], Distinct] = Field(min_length=1)
    summary: dict[str, Any] = Field(default={})


@dataclass(frozen=True, eq=False)
class LinearFunctions:
    """Linear functions of all features of a power spectrum.

    Attributes:
        basis: the radial functions.
        species: of neighbours, atomic numbers, ascending.
        names: of the d functions.
        weights: (d, F), offsets: (d,).
        normalise: whether the features of a centre are divided by their length.
        sum_species: whether neighbours of all species add to the same coefficients.
        matrices: for every species of neighbours (l_max + 1, q, n_max), of contracted radial functions; or None.
        summary: how they were made, JSON-serialisable.

    `ValueError` if shapes do not fit, or numbers are not finite.
    """

    basis: AnyRadialBasis
    species: tuple[int, ...]
    names: tuple[str, ...]
    weights: Array
    offsets: Array
    normalise: bool = True
    sum_species: bool = False
    matrices: Mapping[int, Array] | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = (len(self.names), self._n_features), (len(self.names),)
        for name, array, shape in zip(("weights", "offsets"), (self.weights, self.offsets), shapes, strict=True):
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"{name}: must be finite, of shape {shape}, got shape {array.shape}")

    @property
    def _n_features(self) -> int:
        counts = self.basis.counts if self.matrices is None else functions(self.matrices)
        n_blocks = 1 if self.sum_species else len(self.species)
        return sum(n_blocks * n * (n_blocks * n + 1) // 2 for n in counts)

    def power_spectrum(self, tolerance: float = 1e-8) -> PowerSpectrumBasis:
        """The features."""
        return features(
            self.basis, self.species, self.matrices, self.sum_species, normalise=self.normalise, tolerance=tolerance
        )

    def save(self, path: str | Path) -> None:
        """Writes the file; it is complete or not there."""
        header = LinearHeader(
            basis=self.basis,
            normalise=self.normalise,
            sum_species=self.sum_species,
            species=self.species,
            names=self.names,
            summary=dict(self.summary),
        )
        arrays = {"weights": self.weights, "offsets": self.offsets}
        arrays |= {f"matrices/{s}": matrix for s, matrix in (self.matrices or {}).items()}
        save_headed(Path(path), header, {name: np.ascontiguousarray(array) for name, array in arrays.items()})

    @classmethod
    def load(cls, path: str | Path) -> "LinearFunctions":
        """Reads a file; `InputError` names what is damaged, of another kind, of an unknown version, or does not fit."""
        try:
            header, arrays = load_headed(Path(path), LinearHeader, _expected)
            matrices = {s: arrays[f"matrices/{s}"] for s in header.species if f"matrices/{s}" in arrays}
            return cls(
                header.basis,
                header.species,
                header.names,
                arrays["weights"],
                arrays["offsets"],
                header.normalise,
                header.sum_species,
                matrices or None,
                header.summary,
            )
        except (OSError, ValueError) as error:
            raise InputError(f"weights {path}: {error}") from error

    def check(self, basis: AnyRadialBasis, normalise: bool, neighbours: tuple[int, ...], path: Path) -> None:
        """`InputError` if they were made for another basis, other features, or not for all of these neighbours."""
        again = "make them anew with `forceserver cv fit`"
        if basis != self.basis:
            raise InputError(f"weights {path}: were made for another basis, {self.basis}, not for {basis}; {again}")
        if normalise != self.normalise:
            said = "normalised" if self.normalise else "plain"
            raise InputError(f"weights {path}: were made for {said} features, but normalise = {normalise}; {again}")
        missing = sorted(set(neighbours) - set(self.species))
        if missing:
            raise InputError(
                f"weights {path}: know no neighbours {symbols(missing)}, only {symbols(self.species)}; {again}, from "
                "structures with all of them"
            )


def features(
    basis: AnyRadialBasis,
    species: tuple[int, ...],
    matrices: Mapping[int, Array] | None,
    sum_species: bool,
    *,
    normalise: bool,
    tolerance: float,
) -> PowerSpectrumBasis:
    """All features for these species of neighbours, of the radial functions or of those that are made of them."""
    table = splined(basis, tolerance)
    tables = dict.fromkeys(species, table) if matrices is None else contracted(table, matrices)
    return PowerSpectrumBasis(ExpansionBasis(tables, sum_species=sum_species), normalise=normalise)


def _expected(header: LinearHeader, claims: Mapping[str, Claim]) -> dict[str, Claim]:
    """The arrays that the header promises; numbers of features and of functions are as claimed."""
    real, d = np.dtype(np.float64), len(header.names)
    shape = claims["weights"].shape if "weights" in claims else ()
    expected = {"weights": Claim((d, shape[1] if len(shape) == 2 else 1), real), "offsets": Claim((d,), real)}
    first = claims.get(f"matrices/{header.species[0]}")
    if first is not None:
        q = first.shape[1] if len(first.shape) == 3 else 1
        if not 1 <= q <= MOST_FUNCTIONS:
            raise ValueError(f"matrices/{header.species[0]}: has {q} functions, must have 1 .. {MOST_FUNCTIONS}")
        shape = header.basis.l_max + 1, q, header.basis.n_max
        expected |= {f"matrices/{s}": Claim(shape, real) for s in header.species}
    return expected
