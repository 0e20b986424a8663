"""Sparse kernel models as data, and the file that they live in.

    E = sum_i [ e_0(a_i) + sum over descriptors and sparse points t of species a_i:  w_t (p_i . q_t)^zeta ] + E_pair

with power spectra p (normalised or not), sparse points q_t of each species, and splined pair potentials. The prior
variance of the kernel is part of the weights. Eight members have the weights of leave-one-group-out fits, spread so
that the standard deviation of their energies is the jackknife error of the model.

The file is one `.npz` without pickles: a header (JSON) with schema version, units, hyper-parameters and the summary of
the training, arrays, and a SHA-256 over all of them. The header is read first, then what the other arrays claim to be
is compared with it, and only then are they read.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..arrays import ArrayFile, Claim
from ..config import Section, explain
from ..errors import InputError
from ..files import atomic_write
from ..frame import Array
from ..representation.bases import AnyRadialBasis
from ..representation.expansion import ExpansionBasis
from ..representation.invariants import PowerSpectrumBasis
from ..representation.spline import SplineTable
from .pair import CLOSEST, LennardJones, PairInteraction, Zbl

if TYPE_CHECKING:
    from scipy.interpolate import BSpline

FORMAT = "forceserver sparse kernel model"
VERSION = 3
READABLE = (1, 2, 3)  # 2 has multiplicities of features and mixed radial functions, 3 splines of pair potentials
MEMBERS = 8
UNITS = {"length": "angstrom", "energy": "eV"}
LARGEST_HEADER = 2**25  # bytes
KNOTS_PER_LENGTH = 24  # of a spline in place of Gaussian kernels


class SplinedPair(PairInteraction):
    """`form = "spline"`: a spline of degree five through energies at equal distances from `closest` to the cutoff.

    What a fitted two-body kernel becomes: the weights of its Gaussians are large and cancel, which leaves rounding
    errors that narrow intervals of a table would amplify.
    """

    form: Literal["spline"] = "spline"
    energies_ev: tuple[float, ...] = Field(min_length=6)

    @cached_property
    def _spline(self) -> "BSpline":
        from scipy.interpolate import make_interp_spline

        return make_interp_spline(knots(self.cutoff_angstrom, len(self.energies_ev)), self.energies_ev, k=5)

    def bare(self, r: Array) -> tuple[Array, Array]:
        return self._spline(r), self._spline(r, nu=1)


def knots(cutoff: float, count: int) -> Array:
    """The distances of a `SplinedPair`, (count,), Angstrom."""
    return np.linspace(CLOSEST, cutoff, count)


class GaussianPair(PairInteraction):
    """`form = "gaussians"`: sum_t w_t exp(-(r - r_t)^2 / 2 s^2), a two-body kernel model after its fit.

    Files up to version 2 have it; a fit writes its `splined`.
    """

    form: Literal["gaussians"] = "gaussians"
    length_angstrom: float = Field(gt=0)
    distances_angstrom: tuple[float, ...]
    weights_ev: tuple[float, ...]

    @model_validator(mode="after")
    def _belong_together(self) -> "GaussianPair":
        if len(self.weights_ev) != len(self.distances_angstrom):
            raise ValueError(f"{len(self.weights_ev)} weights_ev for {len(self.distances_angstrom)} distances_angstrom")
        return self

    def bare(self, r: Array) -> tuple[Array, Array]:
        value, slope = gaussians(r, np.array(self.distances_angstrom), self.length_angstrom)
        return value @ self.weights_ev, slope @ self.weights_ev

    def splined(self) -> SplinedPair:
        """The same function without weights that cancel."""
        count = 8 + math.ceil(KNOTS_PER_LENGTH * self.cutoff_angstrom / self.length_angstrom)
        energies = self.bare(knots(self.cutoff_angstrom, count))[0]
        return SplinedPair(
            species=self.species,
            cutoff_angstrom=self.cutoff_angstrom,
            smoothing_angstrom=self.smoothing_angstrom,
            energies_ev=tuple(energies.tolist()),
        )


def gaussians(r: Array, centres: Array, length: float) -> tuple[Array, Array]:
    """exp(-(r - r_t)^2 / 2 s^2) and derivatives with respect to r, each (k, t)."""
    x = (np.asarray(r)[:, None] - centres) / length
    value = np.exp(-0.5 * x**2)
    return value, -x / length * value


ModelInteraction = Annotated[LennardJones | Zbl | GaussianPair | SplinedPair, Field(discriminator="form")]


class SoapHypers(Section):
    """What a power spectrum is made of, and the exponent of its kernel."""

    basis: AnyRadialBasis
    zeta: int = Field(default=4, ge=1, le=32)
    normalise: bool = True
    spline_tolerance: float = Field(default=1e-8, ge=1e-12, le=1e-4)

    def power_spectrum(
        self,
        species: tuple[int, ...],
        features: NDArray[np.int32] | None = None,
        multiplicity: NDArray[np.int32] | None = None,
        mixing: Mapping[int, Array] | None = None,
    ) -> PowerSpectrumBasis:
        """The features, all of them or only those given, for neighbours of these species (atomic numbers).

        multiplicity: as in `PowerSpectrumBasis`. mixing: radial functions of each species as in `SoapTerm`.
        """
        table = _splined(self.basis, self.spline_tolerance)
        tables = {s: table if mixing is None else table.contract(mixing[s]) for s in species}
        return PowerSpectrumBasis(ExpansionBasis(tables), features, normalise=self.normalise, multiplicity=multiplicity)


@lru_cache(maxsize=8)
def _splined(basis: AnyRadialBasis, tolerance: float) -> SplineTable:
    """The table of a basis, made once: a fit needs each five times, and integrals take a second."""
    return SplineTable.build(basis, tolerance)


@dataclass(frozen=True, eq=False)
class SoapTerm:
    """One power spectrum of a model.

    features, multiplicity: (F, 5) and (F,) or None, see `PowerSpectrumBasis`.
    points, weights, members: for each species (atomic number) of centres (M, F), (M,) in eV, and (M, 8) or None.
    mixing: for each species of neighbours (l_max + 1, n, n_max): the n radial functions, linear combinations of those
        of the basis; None for the basis itself.
    """

    hypers: SoapHypers
    features: NDArray[np.int32]
    points: Mapping[int, Array]
    weights: Mapping[int, Array]
    members: Mapping[int, Array] | None = None
    multiplicity: NDArray[np.int32] | None = None
    mixing: Mapping[int, Array] | None = None

    def power_spectrum(self, species: tuple[int, ...]) -> PowerSpectrumBasis:
        """Its features for neighbours of these species."""
        return self.hypers.power_spectrum(species, self.features, self.multiplicity, self.mixing)


@dataclass(frozen=True, eq=False)
class GapModel:
    """A fitted model.

    species: atomic numbers, ascending. energies: e_0 of each species, eV.
    pairs: pair potentials; pair_members: those of each of the eight members, or None.
    summary: what is known about the training, JSON-serialisable.
    """

    species: tuple[int, ...]
    energies: Mapping[int, float]
    soap: tuple[SoapTerm, ...] = ()
    pairs: tuple[PairInteraction, ...] = ()
    pair_members: tuple[tuple[PairInteraction, ...], ...] | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_members(self) -> bool:
        """Whether there is an uncertainty."""
        return self.pair_members is not None

    def save(self, path: Path) -> None:
        """Writes the file; it is complete or not there. `ValueError` if `load` would refuse it."""
        header, arrays = self._header(), self._arrays()
        self.check()
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        with atomic_write(path) as part, open(part, "wb") as file:  # numpy would append .npz to a name
            np.savez(file, checksum=_checksum(arrays), **arrays)  # type: ignore[arg-type]  # none is called allow_pickle

    @classmethod
    def load(cls, path: Path) -> "GapModel":
        """Reads a file; `InputError` names what is damaged, of another kind, of an unknown version, or does not fit."""
        try:
            with ArrayFile(path) as file:
                header = _read_header(file)
                _check_claims(header, file.claims)
                arrays = {name: file.read(name) for name in file.claims}
            checksum = arrays.pop("checksum")
            if not np.array_equal(checksum, _checksum(arrays)):
                raise ValueError("its checksum is wrong, the file is damaged; copy or fit it again")
            _check_numbers(arrays)
        except (OSError, ValueError) as error:
            raise InputError(f"model {path}: {error}") from error
        return cls._from(header, arrays)

    def check(self) -> None:
        """`ValueError` if shapes do not belong together or numbers are not finite."""
        arrays = self._arrays()
        _check_claims(
            Header.model_validate(self._header()),
            {name: Claim(array.shape, array.dtype) for name, array in arrays.items()},
        )
        _check_numbers(arrays)

    def _header(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "units": UNITS,
            "species": list(self.species),
            "energies": {str(species): float(energy) for species, energy in self.energies.items()},
            "soap": [term.hypers.model_dump(mode="json") for term in self.soap],
            "pairs": _dump(self.pairs),
            "pair_members": None if self.pair_members is None else [_dump(pairs) for pairs in self.pair_members],
            "summary": dict(self.summary),
        }

    def _arrays(self) -> dict[str, NDArray]:
        arrays = {}
        for k, term in enumerate(self.soap):
            arrays[f"soap{k}/features"] = np.asarray(term.features, dtype=np.int32)
            if term.multiplicity is not None:
                arrays[f"soap{k}/multiplicity"] = np.asarray(term.multiplicity, dtype=np.int32)
            parts = {"points": term.points, "weights": term.weights}
            parts |= {"members": term.members or {}, "mixing": term.mixing or {}}
            for name, part in parts.items():
                for species, array in part.items():
                    arrays[f"soap{k}/{name}/{species}"] = np.ascontiguousarray(array, dtype=np.float64)
        return arrays

    @classmethod
    def _from(cls, header: "Header", arrays: dict[str, NDArray]) -> "GapModel":
        def of_species(prefix: str) -> dict[int, Array]:
            return {int(name[len(prefix) :]): array for name, array in arrays.items() if name.startswith(prefix)}

        soap = tuple(
            SoapTerm(
                hypers,
                arrays[f"soap{k}/features"],
                of_species(f"soap{k}/points/"),
                of_species(f"soap{k}/weights/"),
                of_species(f"soap{k}/members/") or None,
                arrays.get(f"soap{k}/multiplicity"),
                of_species(f"soap{k}/mixing/") or None,
            )
            for k, hypers in enumerate(header.soap)
        )
        return cls(
            species=header.species,
            energies=header.energies,
            soap=soap,
            pairs=header.pairs,
            pair_members=header.pair_members,
            summary=header.summary,
        )


class Units(Section):
    """Those of all numbers in a file; there are no others."""

    length: Literal["angstrom"]
    energy: Literal["eV"]


class Header(Section):
    """What a file says of itself."""

    format: str
    version: int
    units: Units
    species: tuple[Annotated[int, Field(ge=1, le=118)], ...] = Field(min_length=1)
    energies: dict[int, float]
    soap: tuple[SoapHypers, ...]
    pairs: tuple[ModelInteraction, ...]
    pair_members: Annotated[tuple[tuple[ModelInteraction, ...], ...], Field(min_length=8, max_length=8)] | None
    summary: dict[str, Any]

    @model_validator(mode="after")
    def _species_agree(self) -> "Header":
        if list(self.species) != sorted(set(self.species)):
            raise ValueError(f"species: {self.species} must ascend, each once")
        if set(self.energies) != set(self.species):
            raise ValueError(f"energies: those of {sorted(self.energies)} are given, of {self.species} they must be")
        return self


def _read_header(file: ArrayFile) -> Header:
    if not {"header", "checksum"} <= file.claims.keys():
        raise ValueError(f"is not a {FORMAT} (it has no header)")
    claim = file.claims["header"]
    if claim.dtype != np.uint8 or len(claim.shape) != 1 or claim.shape[0] > LARGEST_HEADER:
        raise ValueError(f"header: is {claim}, must be uint8, one-dimensional, of {LARGEST_HEADER} bytes at most")
    try:
        content = json.loads(file.read("header").tobytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is damaged: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        said = content.get("format") if isinstance(content, dict) else content
        raise ValueError(f"is not a {FORMAT} but {str(said)[:80]!r}")
    if content.get("version") not in READABLE:
        raise ValueError(
            f"has schema version {str(content.get('version'))[:80]}, this program reads versions up to "
            f"{VERSION}; use the version of forceserver that wrote it, or fit it anew"
        )
    try:
        return Header.model_validate(content)
    except pydantic.ValidationError as error:
        raise ValueError(explain(error, "its header", Header)) from error


def _check_claims(header: Header, claims: Mapping[str, Claim]) -> None:
    """`ValueError` unless there are the arrays that the header promises, and no others, in shapes that fit together."""
    expected = _expected(header, claims)
    for name, claim in expected.items():
        if name not in claims:
            raise ValueError(f"{name}: this array is missing")
        if claims[name] != claim:
            raise ValueError(f"{name}: is {claims[name]}, must be {claim}")
    for name in claims:
        if name not in expected and name not in ("header", "checksum"):
            raise ValueError(f"{name}: no such array belongs to a model of these species and power spectra")


def _expected(header: Header, claims: Mapping[str, Claim]) -> dict[str, Claim]:
    """Every array; what the header leaves open is how many features, sparse points and mixed functions there are."""

    def size(name: str, axis: int = 0) -> int:
        shape = claims[name].shape if name in claims else ()
        return max(1, shape[axis]) if axis < len(shape) else 1  # of all there must be one at least

    integer, real = np.dtype(np.int32), np.dtype(np.float64)
    expected = {}
    for k, hypers in enumerate(header.soap):
        here = f"soap{k}"
        parts = {name.split("/")[1] for name in claims if name.startswith(f"{here}/")}
        centres = [s for s in header.species if any(f"{here}/{part}/{s}" in claims for part in ("points", "weights"))]
        features, functions = size(f"{here}/features"), size(f"{here}/mixing/{header.species[0]}", axis=1)
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


def _check_numbers(arrays: Mapping[str, NDArray]) -> None:
    for name, array in arrays.items():
        if array.dtype == np.float64 and not np.isfinite(array).all():
            place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
            raise ValueError(f"{name}: the number at {place} is {array[place]}")


def _dump(interactions: tuple[PairInteraction, ...]) -> list[dict[str, Any]]:
    return [interaction.model_dump(mode="json") for interaction in interactions]


def _checksum(arrays: Mapping[str, NDArray]) -> NDArray[np.uint8]:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), dtype=np.uint8)
