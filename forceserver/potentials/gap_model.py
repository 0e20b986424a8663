"""Sparse kernel models as data, and the file that they live in.

    E = sum_i [ e_0(a_i) + sum over descriptors and sparse points t of species a_i:  w_t (p_i . q_t)^zeta ] + E_pair

with power spectra p (normalised or not), sparse points q_t of each species, and splined pair potentials. The prior
variance of the kernel is part of the weights. Eight members have the weights of leave-one-group-out fits, spread so
that the standard deviation of their energies is the jackknife error of the model.

The file is one `.npz` without pickles: a header (JSON) with schema version, units, hyper-parameters and the summary of
the training, arrays, and a SHA-256 over all of them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from zipfile import BadZipFile

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from ..config import Section
from ..errors import InputError
from ..files import atomic_write
from ..frame import Array
from ..representation.bases import AnyRadialBasis
from ..representation.expansion import ExpansionBasis
from ..representation.invariants import PowerSpectrumBasis
from ..representation.spline import SplineTable
from .pair import LennardJones, PairInteraction, Zbl

FORMAT = "forceserver sparse kernel model"
VERSION = 2
READABLE = (1, 2)  # 2 has multiplicities of features and mixed radial functions
MEMBERS = 8
UNITS = {"length": "angstrom", "energy": "eV"}


class GaussianPair(PairInteraction):
    """`form = "gaussians"`: sum_t w_t exp(-(r - r_t)^2 / 2 s^2), a two-body kernel model after its fit."""

    form: Literal["gaussians"] = "gaussians"
    length_angstrom: float = Field(gt=0)
    distances_angstrom: tuple[float, ...]
    weights_ev: tuple[float, ...]

    def bare(self, r: Array) -> tuple[Array, Array]:
        value, slope = gaussians(r, np.array(self.distances_angstrom), self.length_angstrom)
        return value @ self.weights_ev, slope @ self.weights_ev


def gaussians(r: Array, centres: Array, length: float) -> tuple[Array, Array]:
    """exp(-(r - r_t)^2 / 2 s^2) and derivatives with respect to r, each (k, t)."""
    x = (np.asarray(r)[:, None] - centres) / length
    value = np.exp(-0.5 * x**2)
    return value, -x / length * value


ModelInteraction = Annotated[LennardJones | Zbl | GaussianPair, Field(discriminator="form")]
_INTERACTIONS = TypeAdapter(tuple[ModelInteraction, ...])


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
        table = SplineTable.build(self.basis, self.spline_tolerance)
        tables = {s: table if mixing is None else table.contract(mixing[s]) for s in species}
        return PowerSpectrumBasis(ExpansionBasis(tables), features, normalise=self.normalise, multiplicity=multiplicity)


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
        """Writes the file; it is complete or not there."""
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
        header = {
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
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        with atomic_write(path) as part, open(part, "wb") as file:  # numpy would append .npz to a name
            np.savez(file, checksum=_checksum(arrays), **arrays)

    @classmethod
    def load(cls, path: Path) -> "GapModel":
        """Reads a file; `InputError` if it is damaged, of another kind, or of a version that is not known."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, BadZipFile, EOFError, KeyError) as error:
            raise InputError(f"model {path}: cannot be read, it is damaged or no model: {error}") from error
        if "header" not in arrays or "checksum" not in arrays:
            raise InputError(f"model {path}: is not a {FORMAT} (it has no header)")
        checksum = arrays.pop("checksum")
        try:
            header = json.loads(arrays["header"].tobytes())
        except ValueError as error:
            raise InputError(f"model {path}: its header is damaged: {error}") from error
        if header.get("format") != FORMAT:
            raise InputError(f"model {path}: is not a {FORMAT} but {header.get('format')!r}")
        if header.get("version") not in READABLE:
            raise InputError(
                f"model {path}: has schema version {header.get('version')}, this program reads versions up to "
                f"{VERSION}; use the version of forceserver that wrote it, or fit it anew"
            )
        if not np.array_equal(checksum, _checksum(arrays)):
            raise InputError(f"model {path}: its checksum is wrong, the file is damaged; copy or fit it again")
        try:
            return cls._from(header, arrays)
        except (KeyError, pydantic.ValidationError) as error:
            raise InputError(f"model {path}: its content does not fit the schema: {error}") from error

    @classmethod
    def _from(cls, header: dict[str, Any], arrays: dict[str, NDArray]) -> "GapModel":
        def of_species(prefix: str) -> dict[int, Array]:
            return {int(name[len(prefix) :]): array for name, array in arrays.items() if name.startswith(prefix)}

        soap = tuple(
            SoapTerm(
                SoapHypers.model_validate(hypers),
                arrays[f"soap{k}/features"],
                of_species(f"soap{k}/points/"),
                of_species(f"soap{k}/weights/"),
                of_species(f"soap{k}/members/") or None,
                arrays.get(f"soap{k}/multiplicity"),
                of_species(f"soap{k}/mixing/") or None,
            )
            for k, hypers in enumerate(header["soap"])
        )
        members = header["pair_members"]
        return cls(
            species=tuple(header["species"]),
            energies={int(species): energy for species, energy in header["energies"].items()},
            soap=soap,
            pairs=_INTERACTIONS.validate_python(header["pairs"]),
            pair_members=None if members is None else tuple(map(_INTERACTIONS.validate_python, members)),
            summary=header["summary"],
        )


def _dump(interactions: tuple[PairInteraction, ...]) -> list[dict[str, Any]]:
    return [interaction.model_dump(mode="json") for interaction in interactions]


def _checksum(arrays: Mapping[str, NDArray]) -> NDArray[np.uint8]:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), dtype=np.uint8)
