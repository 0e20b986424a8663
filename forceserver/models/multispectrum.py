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
from ..representation.multispectrum import ALL, INVARIANT, Components, Irrep, Level, Multispectrum
from ..representation.spline import splined
from ..sections import Section
from .base import Model, ModelHeader
from .pairs import PairInteraction

PAIR_COLUMNS = 5


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


class MultispectrumHeader(ModelHeader):
    """Header of a file.

    groups: species of centres with separate components, or 0 if all share the same ones.
    irreps: l and parity of all irreps of orders 2, 3, ...
    """

    density: DensityHypers
    groups: tuple[int, ...] = Field(min_length=1)
    irreps: tuple[tuple[tuple[int, int], ...], ...] = Field(min_length=1, max_length=3)


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
        one = next(iter(self.levels.values()))
        irreps = [[list(irrep) for irrep in level] for level in one]
        return {"density": self.density.model_dump(mode="json"), "groups": sorted(self.levels), "irreps": irreps}

    def _arrays(self) -> dict[str, NDArray]:
        arrays: dict[str, NDArray] = {f"weights/{s}": np.asarray(w, dtype=np.float64) for s, w in self.weights.items()}
        arrays |= {f"mixing/{s}": np.ascontiguousarray(m, dtype=np.float64) for s, m in (self.mixing or {}).items()}
        for group, levels in self.levels.items():
            for nu, level in enumerate(levels, 2):
                for irrep, part in level.items():
                    here = _place(group, nu, irrep)
                    arrays[f"{here}/pairs"] = np.asarray(part.pairs, dtype=np.int32)
                    arrays[f"{here}/matrix"] = np.ascontiguousarray(part.matrix, dtype=np.float64)
        return arrays

    @classmethod
    def _from(cls, header: MultispectrumHeader, arrays: dict[str, NDArray]) -> "MultispectrumModel":
        levels = {group: tuple(_level(header, arrays, group, nu) for nu in _orders(header)) for group in header.groups}
        mixing = {s: arrays[f"mixing/{s}"] for s in header.species if f"mixing/{s}" in arrays} or None
        model = cls(
            species=header.species,
            energies=header.energies,
            density=header.density,
            mixing=mixing,
            levels=levels,
            weights={s: arrays[f"weights/{s}"] for s in header.species},
            pairs=header.pairs,
            pair_members=header.pair_members,
            summary=header.summary,
        )
        _check_channels(model)
        return model

    @classmethod
    def _expected(cls, header: MultispectrumHeader, claims: Mapping[str, Claim]) -> dict[str, Claim]:
        integer, real = np.dtype(np.int32), np.dtype(np.float64)

        def size(name: str, axis: int) -> int:
            shape = claims[name].shape if name in claims else ()
            return max(1, shape[axis]) if axis < len(shape) else 1

        if set(header.groups) not in ({ALL}, set(header.species)):
            raise ValueError(f"groups: {header.groups} must be 0, for all centres, or the species {header.species}")
        expected = {}
        for group in header.groups:
            for nu in _orders(header):
                for irrep in header.irreps[nu - 2]:
                    here = _place(group, nu, Irrep(*irrep))
                    number = size(f"{here}/pairs", 0)
                    expected[f"{here}/pairs"] = Claim((number, PAIR_COLUMNS), integer)
                    expected[f"{here}/matrix"] = Claim((number, size(f"{here}/matrix", 1)), real)
        features = size(f"weights/{header.species[0]}", 0)
        for s in header.species:
            expected[f"weights/{s}"] = Claim((features,), real)
            if any(name.startswith("mixing/") for name in claims):
                functions = size(f"mixing/{header.species[0]}", 1)
                shape = (header.density.basis.l_max + 1, functions, header.density.basis.n_max)
                expected[f"mixing/{s}"] = Claim(shape, real)
        return expected


def _orders(header: MultispectrumHeader) -> range:
    return range(2, 2 + len(header.irreps))


def _place(group: int, nu: int, irrep: Irrep) -> str:
    return f"components/{group}/{nu}/{irrep.l}/{'even' if irrep.parity > 0 else 'odd'}"


def _level(header: MultispectrumHeader, arrays: Mapping[str, NDArray], group: int, nu: int) -> Level:
    level = {}
    for irrep in (Irrep(*pair) for pair in header.irreps[nu - 2]):
        here = _place(group, nu, irrep)
        level[irrep] = Components(irrep, arrays[f"{here}/pairs"], arrays[f"{here}/matrix"], np.zeros(0))
    return level


def _check_channels(model: MultispectrumModel) -> None:
    """`ValueError` unless all factors of all products exist, and couple to the declared results."""
    expansion = model.density.expansion(model.species, model.mixing)
    one = {Irrep(l, 1): expansion.n_blocks * n for l, n in expansion.counts.items()}
    sizes = set()
    for levels in model.levels.values():
        before = one
        for nu, level in enumerate(levels, 2):
            for target, part in level.items():
                _check_pairs(f"order {nu}, l = {target.l}", target, part.pairs, before, one)
            before = {irrep: part.matrix.shape[1] for irrep, part in level.items()}
            if INVARIANT not in before:
                raise ValueError(f"order {nu}: has no invariants")
        sizes.add(len(Multispectrum(expansion, {ALL: levels})))
    given = sorted({len(w) for w in model.weights.values()})
    if sorted(sizes) != given:
        raise ValueError(f"weights: must be one per feature ({sorted(sizes)}) for each species, are {given}")


def _check_pairs(
    name: str, target: Irrep, pairs: NDArray[np.int32], before: Mapping[Irrep, int], one: Mapping[Irrep, int]
) -> None:
    for l1, parity, l2 in np.unique(pairs[:, [0, 1, 3]], axis=0).tolist():
        rows = pairs[(pairs[:, [0, 1, 3]] == (l1, parity, l2)).all(axis=1)]
        limits = np.array([before.get(Irrep(l1, parity), 0), one.get(Irrep(l2, 1), 0)])
        fits = abs(l1 - l2) <= target.l <= l1 + l2 and parity * (-1) ** (l1 + l2 + target.l) == target.parity
        inside = ((rows[:, [2, 4]] >= 0) & (rows[:, [2, 4]] < limits)).all()
        if not (fits and inside):
            raise ValueError(f"{name}: l = {l1} (parity {parity}) and l = {l2} cannot be coupled to this")
