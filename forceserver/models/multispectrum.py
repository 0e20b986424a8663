"""Linear models of multispectra as data.

    E = sum_i [ e_0(a_i) + sum_k w_k(a_i) x_k(i) ]

with the invariants x of a multispectrum (`representation.multispectrum`), whose components are part of the model, and
separate weights for each species of centres.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..frame import Array
from ..npy_files import Claim
from ..representation.bases import AnyRadialBasis
from ..representation.contraction import contracted
from ..representation.expansion import ExpansionBasis
from ..representation.multispectrum import Level, Multispectrum
from ..representation.spline import splined
from ..sections import Section
from . import components
from .base import Model, ModelHeader
from .pairs import PairInteraction


class DensityHypers(Section):
    """The density whose coefficients are multiplied.

    sum_species: whether neighbours of all species contribute to the same coefficients, each with its own functions.
    """

    basis: AnyRadialBasis
    spline_tolerance: float = Field(default=1e-8, ge=1e-12, le=0.1)
    centre_contribution: bool = True
    sum_species: bool = False

    def expansion(self, species: tuple[int, ...], mixing: Mapping[int, Array] | None) -> ExpansionBasis:
        """The coefficients, for neighbours of these species (atomic numbers); mixing as in `MultispectrumModel`."""
        table = splined(self.basis, self.spline_tolerance)
        tables = dict.fromkeys(species, table) if mixing is None else contracted(table, dict(mixing))
        return ExpansionBasis(tables, sum_species=self.sum_species, centre_contribution=self.centre_contribution)


class MultispectrumHeader(ModelHeader, components.ComponentsHeader):
    """Header of a file."""

    density: DensityHypers


@dataclass(frozen=True, eq=False)
class MultispectrumModel(Model):
    """A fitted model.

    species: atomic numbers, ascending. energies: e_0 of each species, eV.
    mixing: for each species of neighbours (l_max + 1, n, n_max), the contraction of the radial functions, or None.
    levels: as those of `Multispectrum`. weights: (F,) in eV for each species of centres.
    summary: what is known about the training, JSON-serialisable.
    """

    FORMAT: ClassVar[str] = "forceserver multispectrum model"
    VERSION: ClassVar[int] = 1
    READABLE: ClassVar[tuple[int, ...]] = (1,)
    HEADER: ClassVar[type[ModelHeader]] = MultispectrumHeader

    species: tuple[int, ...]
    energies: Mapping[int, float]
    density: DensityHypers
    mixing: Mapping[int, Array] | None
    levels: Mapping[int, tuple[Level, ...]]
    weights: Mapping[int, Array]
    pairs: tuple[PairInteraction, ...] = ()
    pair_members: tuple[tuple[PairInteraction, ...], ...] | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reach(self) -> float:
        return self.density.basis.cutoff.cutoff_angstrom

    def multispectrum(self) -> Multispectrum:
        """The features."""
        return Multispectrum(self.density.expansion(self.species, self.mixing), self.levels)

    def _own_header(self) -> dict[str, Any]:
        return {"density": self.density.model_dump(mode="json")} | components.header_of(self.levels)

    def _arrays(self) -> dict[str, NDArray]:
        arrays: dict[str, NDArray] = {f"weights/{s}": np.asarray(w, dtype=np.float64) for s, w in self.weights.items()}
        arrays |= {f"mixing/{s}": np.ascontiguousarray(m, dtype=np.float64) for s, m in (self.mixing or {}).items()}
        arrays |= components.arrays_of(self.levels)
        return arrays

    @classmethod
    def _from(cls, header: MultispectrumHeader, arrays: dict[str, NDArray]) -> "MultispectrumModel":
        mixing = {s: arrays[f"mixing/{s}"] for s in header.species if f"mixing/{s}" in arrays} or None
        model = cls(
            species=header.species,
            energies=header.energies,
            density=header.density,
            mixing=mixing,
            levels=components.levels_of(header, arrays),
            weights={s: arrays[f"weights/{s}"] for s in header.species},
            pairs=header.pairs,
            pair_members=header.pair_members,
            summary=header.summary,
        )
        expansion = model.density.expansion(model.species, model.mixing)
        components.check(model.levels, expansion, [len(w) for w in model.weights.values()])
        return model

    @classmethod
    def _expected(cls, header: MultispectrumHeader, claims: Mapping[str, Claim]) -> dict[str, Claim]:
        real = np.dtype(np.float64)

        def size(name: str, axis: int) -> int:
            shape = claims[name].shape if name in claims else ()
            return max(1, shape[axis]) if axis < len(shape) else 1

        expected = components.expected(header, claims, header.species)
        features = size(f"weights/{header.species[0]}", 0)
        for s in header.species:
            expected[f"weights/{s}"] = Claim((features,), real)
            if any(name.startswith("mixing/") for name in claims):
                functions = size(f"mixing/{header.species[0]}", 1)
                shape = (header.density.basis.l_max + 1, functions, header.density.basis.n_max)
                expected[f"mixing/{s}"] = Claim(shape, real)
        return expected
