"""Sparse kernel models as data, and their file.

    E = sum_i [ e_0(a_i) + sum over descriptors and sparse points t of species a_i:  w_t (p_i . q_t)^zeta ] + E_pair

with power spectra p (normalised or not), sparse points q_t of each species, and splined pair potentials. The prior
variance of the kernel is part of the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..errors import InputError
from ..frame import Array
from ..npy_files import Claim
from ..representation.bases import AnyRadialBasis
from ..representation.contraction import contracted
from ..representation.expansion import ExpansionBasis
from ..representation.invariants import PowerSpectrumBasis
from ..representation.multispectrum import Multispectrum
from ..representation.scaled_multispectrum import ScaledMultispectrum
from ..representation.spline import splined
from ..sections import Section
from . import components
from .base import MEMBERS, Model, ModelHeader
from .pairs import PairInteraction


class SoapHypers(Section):
    """The density behind a power spectrum, and the exponent of the kernel.

    centre_weight: weight of the centre itself in l = 0. centre_in_all_blocks: whether the centre contributes to the
    density of every species instead of its own only.
    """

    basis: AnyRadialBasis
    zeta: int = Field(default=4, ge=1, le=32)
    normalise: bool = True
    spline_tolerance: float = Field(default=1e-8, ge=1e-12, le=1e-4)
    centre_weight: float = Field(default=1.0, ge=0)
    centre_in_all_blocks: bool = False

    def power_spectrum(
        self,
        species: tuple[int, ...],
        features: NDArray[np.int32] | None = None,
        multiplicity: NDArray[np.int32] | None = None,
        mixing: Mapping[int, Array] | None = None,
        sum_species: bool = False,
    ) -> PowerSpectrumBasis:
        """The features, all of them or only those given, for neighbours of these species (atomic numbers).

        multiplicity: as in `PowerSpectrumBasis`. mixing, sum_species: radial functions as in `SoapTerm`.
        """
        expansion = self.expansion(species, mixing, sum_species)
        return PowerSpectrumBasis(expansion, features, normalise=self.normalise, multiplicity=multiplicity)

    def expansion(
        self, species: tuple[int, ...], mixing: Mapping[int, Array] | None = None, sum_species: bool = False
    ) -> ExpansionBasis:
        """The coefficients; arguments as for `power_spectrum`."""
        table = splined(self.basis, self.spline_tolerance)
        tables = dict.fromkeys(species, table)
        if mixing is not None:
            tables = contracted(table, {s: mixing[s] for s in species})
        return ExpansionBasis(
            tables,
            sum_species=sum_species,
            centre_contribution=self.centre_weight,
            centre_in_all_blocks=self.centre_in_all_blocks,
        )


@dataclass(frozen=True, eq=False)
class SoapTerm:
    """One power spectrum of a model, or one multispectrum.

    features, multiplicity: (F, 5) and (F,) or None, see `PowerSpectrumBasis`; both None for a multispectrum.
    points, weights, members: for each species (atomic number) of centres (M, F), (M,) in eV, and (M, 8) or None.
    mixing: for each species of neighbours (l_max + 1, n, n_max): the n radial functions, linear combinations of those
        of the basis; None for the basis itself. Where an l has fewer functions, its last rows are zero.
    sum_species: whether neighbours of all species add to the same coefficients, each with its own mixing.
    levels, scale: of a multispectrum, as those of `Multispectrum` and `ScaledMultispectrum`; else None.
    """

    hypers: SoapHypers
    features: NDArray[np.int32] | None
    points: Mapping[int, Array]
    weights: Mapping[int, Array]
    members: Mapping[int, Array] | None = None
    multiplicity: NDArray[np.int32] | None = None
    mixing: Mapping[int, Array] | None = None
    sum_species: bool = False
    levels: components.Levels | None = None
    scale: Array | None = None

    def describer(self, species: tuple[int, ...]) -> PowerSpectrumBasis | ScaledMultispectrum:
        """The features of this term, for neighbours of these species."""
        if self.levels is None or self.scale is None:
            return self.power_spectrum(species)
        expansion = self.hypers.expansion(species, self.mixing, self.sum_species)
        return ScaledMultispectrum(Multispectrum(expansion, self.levels), self.scale, self.hypers.normalise)

    def power_spectrum(self, species: tuple[int, ...]) -> PowerSpectrumBasis:
        """The features of a term that is a power spectrum, for neighbours of these species; else `InputError`."""
        if self.levels is not None:
            raise InputError("the model has a multispectrum, and only power spectra can be used here")
        return self.hypers.power_spectrum(species, self.features, self.multiplicity, self.mixing, self.sum_species)


class KernelHeader(ModelHeader):
    """Header of a file."""

    soap: tuple[SoapHypers, ...]
    sum_species: tuple[bool, ...] = ()  # for each power spectrum; empty in versions before 4
    multispectra: tuple[components.ComponentsHeader | None, ...] = ()  # likewise; empty in versions before 5

    @model_validator(mode="after")
    def _for_each_spectrum(self) -> "KernelHeader":
        for name in ("sum_species", "multispectra"):
            if len(given := getattr(self, name)) not in (0, len(self.soap)):
                raise ValueError(f"{name}: there are {len(given)} for {len(self.soap)} power spectra")
        return self

    def multispectrum(self, number: int) -> components.ComponentsHeader | None:
        """The components of a term that is a multispectrum."""
        return self.multispectra[number] if self.multispectra else None


@dataclass(frozen=True, eq=False)
class GapModel(Model):
    """A fitted model.

    species: atomic numbers, ascending. energies: e_0 of each species, eV.
    pairs: pair potentials; pair_members: those of each of the eight members, or None.
    summary: what is known about the training, JSON-serialisable.
    """

    FORMAT: ClassVar[str] = "forceserver sparse kernel model"
    VERSION: ClassVar[int] = 5
    READABLE: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 5)
    """2: multiplicities, mixed radial functions; 3: splines of pairs; 4: mixed species, weights of centres;
    5: multispectra."""
    HEADER: ClassVar[type[ModelHeader]] = KernelHeader

    species: tuple[int, ...]
    energies: Mapping[int, float]
    soap: tuple[SoapTerm, ...] = ()
    pairs: tuple[PairInteraction, ...] = ()
    pair_members: tuple[tuple[PairInteraction, ...], ...] | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reach(self) -> float:
        return max((term.hypers.basis.cutoff.cutoff_angstrom for term in self.soap), default=0.0)

    def member(self, number: int) -> "GapModel":
        if self.pair_members is None:
            raise ValueError("the model has no members")
        soap = tuple(
            replace(
                term, weights={s: np.ascontiguousarray(m[:, number]) for s, m in term.members.items()}, members=None
            )
            for term in self.soap
            if term.members is not None
        )
        return replace(self, soap=soap, pairs=self.pair_members[number], pair_members=None)

    def _own_header(self) -> dict[str, Any]:
        return {
            "soap": [term.hypers.model_dump(mode="json") for term in self.soap],
            "sum_species": [term.sum_species for term in self.soap],
            "multispectra": [None if t.levels is None else components.header_of(t.levels) for t in self.soap],
        }

    def _arrays(self) -> dict[str, NDArray]:
        arrays = {}
        for k, term in enumerate(self.soap):
            if term.features is not None:
                arrays[f"soap{k}/features"] = np.asarray(term.features, dtype=np.int32)
            if term.levels is not None:
                arrays |= components.arrays_of(term.levels, f"soap{k}/")
                arrays[f"soap{k}/scale"] = np.asarray(term.scale, dtype=np.float64)
            if term.multiplicity is not None:
                arrays[f"soap{k}/multiplicity"] = np.asarray(term.multiplicity, dtype=np.int32)
            parts = {"points": term.points, "weights": term.weights}
            parts |= {"members": term.members or {}, "mixing": term.mixing or {}}
            for name, part in parts.items():
                for species, array in part.items():
                    arrays[f"soap{k}/{name}/{species}"] = np.ascontiguousarray(array, dtype=np.float64)
        return arrays

    @classmethod
    def _from(cls, header: KernelHeader, arrays: dict[str, NDArray]) -> "GapModel":
        def of_species(prefix: str) -> dict[int, Array]:
            return {int(name[len(prefix) :]): array for name, array in arrays.items() if name.startswith(prefix)}

        soap = tuple(
            SoapTerm(
                hypers,
                arrays.get(f"soap{k}/features"),
                of_species(f"soap{k}/points/"),
                of_species(f"soap{k}/weights/"),
                of_species(f"soap{k}/members/") or None,
                arrays.get(f"soap{k}/multiplicity"),
                of_species(f"soap{k}/mixing/") or None,
                bool(header.sum_species and header.sum_species[k]),
                None if (of := header.multispectrum(k)) is None else components.levels_of(of, arrays, f"soap{k}/"),
                arrays.get(f"soap{k}/scale"),
            )
            for k, hypers in enumerate(header.soap)
        )
        for term in soap:
            if term.levels is not None:
                expansion = term.hypers.expansion(header.species, term.mixing, term.sum_species)
                components.check(term.levels, expansion, [q.shape[1] for q in term.points.values()])
        return cls(
            species=header.species,
            energies=header.energies,
            soap=soap,
            pairs=header.pairs,
            pair_members=header.pair_members,
            summary=header.summary,
        )

    @classmethod
    def _expected(cls, header: KernelHeader, claims: Mapping[str, Claim]) -> dict[str, Claim]:
        """Every array; the header leaves open how many features, sparse points and mixed functions there are."""

        def size(name: str, axis: int = 0) -> int:
            shape = claims[name].shape if name in claims else ()
            return max(1, shape[axis]) if axis < len(shape) else 1  # there must be at least one of each

        integer, real = np.dtype(np.int32), np.dtype(np.float64)
        expected: dict[str, Claim] = {}
        for k, hypers in enumerate(header.soap):
            here = f"soap{k}"
            parts = {name.split("/")[1] for name in claims if name.startswith(f"{here}/")}
            centres = [
                s for s in header.species if any(f"{here}/{part}/{s}" in claims for part in ("points", "weights"))
            ]
            features, functions = size(f"{here}/features"), size(f"{here}/mixing/{header.species[0]}", axis=1)
            if (of := header.multispectrum(k)) is not None:
                features = size(f"{here}/scale")
                expected |= components.expected(of, claims, header.species, f"{here}/")
                expected[f"{here}/scale"] = Claim((features,), real)
            else:
                expected[f"{here}/features"] = Claim((features, 5), integer)
            if "multiplicity" in parts:
                expected[f"{here}/multiplicity"] = Claim((features,), integer)
            for s in centres or header.species:
                points = size(f"{here}/points/{s}")
                expected[f"{here}/points/{s}"] = Claim((points, features), real)
                expected[f"{here}/weights/{s}"] = Claim((points,), real)
                if header.pair_members is not None:
                    expected[f"{here}/members/{s}"] = Claim((points, MEMBERS), real)
            for s in header.species if "mixing" in parts else ():
                shape = (hypers.basis.l_max + 1, functions, hypers.basis.n_max)
                expected[f"{here}/mixing/{s}"] = Claim(shape, real)
        return expected
