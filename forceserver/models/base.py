"""What every fitted model has in common: its species, the energies of atoms, pair potentials, members, and its file.

    E = sum_i [ e_0(a_i) + contribution of the environment of atom i ] + E_pair

The weights of the eight members are those of leave-one-group-out fits, scaled so that the standard deviation of the
members' energies is the jackknife error of the model.

The file is one `.npz` without pickles: a header (JSON) with format, schema version, units, hyper-parameters and a
summary of the training, the arrays, and a SHA-256 over all of them. The header is read first, then the declared shapes
and types of the other arrays are compared with it, and only then are they read. A kind of model defines its header
(`HEADER`) and its arrays; everything else is here. Arrays whose names begin with `TABLES` follow from the model and are
for other programs.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..errors import InputError
from ..headed_files import check_claims, header_content, read_arrays, save_arrays
from ..npy_files import ArrayFile, Claim
from ..sections import Section, explain
from .pairs import ModelInteraction, PairInteraction

if TYPE_CHECKING:
    from typing_extensions import Self

MEMBERS = 8
UNITS = {"length": "angstrom", "energy": "eV"}
LARGEST_HEADER = 2**25  # bytes
TABLES = "lammps/"


class Units(Section):
    """The units of all numbers in a file; no others are allowed."""

    length: Literal["angstrom"]
    energy: Literal["eV"]


class ModelHeader(Section):
    """Header of a file."""

    format: str
    version: int
    units: Units
    species: tuple[Annotated[int, Field(ge=1, le=118)], ...] = Field(min_length=1)
    energies: dict[int, float]
    pairs: tuple[ModelInteraction, ...]
    pair_members: Annotated[tuple[tuple[ModelInteraction, ...], ...], Field(min_length=8, max_length=8)] | None
    summary: dict[str, Any]

    @model_validator(mode="after")
    def _species_agree(self) -> "ModelHeader":
        if list(self.species) != sorted(set(self.species)):
            raise ValueError(f"species: {self.species} must ascend, each once")
        if set(self.energies) != set(self.species):
            raise ValueError(f"energies: must be given for the species {self.species}, are for {sorted(self.energies)}")
        return self


class Model(ABC):
    """A fitted model, of any kind.

    species: atomic numbers, ascending. energies: e_0 of each species, eV.
    pairs: pair potentials; pair_members: those of each of the eight members, or None.
    summary: what is known about the training, JSON-serialisable.

    READABLE: schema versions that `load` reads, of which VERSION is written.
    """

    FORMAT: ClassVar[str]
    VERSION: ClassVar[int]
    READABLE: ClassVar[tuple[int, ...]]
    HEADER: ClassVar[type[ModelHeader]]

    species: tuple[int, ...]
    energies: Mapping[int, float]
    pairs: tuple[PairInteraction, ...]
    pair_members: tuple[tuple[PairInteraction, ...], ...] | None
    summary: Mapping[str, Any]

    @abstractmethod
    def _own_header(self) -> dict[str, Any]:
        """The fields of the header that only this kind of model has."""

    @abstractmethod
    def _arrays(self) -> dict[str, NDArray]:
        """The arrays of the file, by name."""

    @classmethod
    @abstractmethod
    def _expected(cls, header: Any, claims: Mapping[str, Claim]) -> dict[str, Claim]:
        """The arrays that a file with this header must have; sizes that it leaves open are those of `claims`."""

    @classmethod
    @abstractmethod
    def _from(cls, header: Any, arrays: dict[str, NDArray]) -> "Self":
        """The model with this header and these arrays, which have been checked."""

    @property
    @abstractmethod
    def reach(self) -> float:
        """Distance (Angstrom) up to which atoms interact other than as pairs; zero for a model of pairs only."""

    @property
    def has_members(self) -> bool:
        """Whether the model has members, and so an uncertainty."""
        return self.pair_members is not None

    def member(self, number: int) -> "Self":
        """One of the eight members, as a model without members. `ValueError` if the model has none."""
        raise ValueError(f"a {self.FORMAT} has no members")

    def save(self, path: Path, *, tables: Mapping[str, NDArray] | None = None) -> None:
        """Writes the file, completely or not at all. `ValueError` if `load` would refuse it.

        tables: arrays for other programs, by name; they are stored with the prefix `TABLES`, and ignored by `load`.
        """
        header, arrays = self._header(), self._arrays()
        self.check()
        arrays |= {TABLES + name: array for name, array in (tables or {}).items()}
        save_arrays(path, json.dumps(header), arrays)

    @classmethod
    def load(cls, path: Path) -> "Self":
        """Reads a file. `InputError` says what is damaged, of another kind, of an unknown version, or inconsistent."""
        return read_model(path, (cls,))

    def check(self) -> None:
        """`ValueError` if shapes do not fit together or numbers are not finite."""
        arrays = self._arrays()
        self._check_claims(
            self.HEADER.model_validate(self._header()),
            {name: Claim(array.shape, array.dtype) for name, array in arrays.items()},
        )
        _check_numbers(arrays)

    def _header(self) -> dict[str, Any]:
        return {
            "format": self.FORMAT,
            "version": self.VERSION,
            "units": UNITS,
            "species": list(self.species),
            "energies": {str(species): float(energy) for species, energy in self.energies.items()},
            **self._own_header(),
            "pairs": _dump(self.pairs),
            "pair_members": None if self.pair_members is None else [_dump(pairs) for pairs in self.pair_members],
            "summary": dict(self.summary),
        }

    @classmethod
    def _check_claims(cls, header: ModelHeader, claims: Mapping[str, Claim]) -> None:
        """`ValueError` unless the arrays are exactly those that the header declares, in consistent shapes."""
        check_claims(claims, cls._expected(header, claims), free=TABLES)


def read_model(path: Path, kinds: tuple[type[Model], ...]) -> Any:
    """The model in a file, of one of these kinds; `InputError` as for `Model.load`."""
    try:
        with ArrayFile(path) as file:
            kind, header = _read_header(file, kinds)
            kind._check_claims(header, file.claims)
            arrays = read_arrays(file)
        _check_numbers(arrays)
        return kind._from(header, {name: array for name, array in arrays.items() if not name.startswith(TABLES)})
    except (OSError, ValueError) as error:
        raise InputError(f"model {path}: {error}") from error


def _read_header(file: ArrayFile, kinds: tuple[type[Model], ...]) -> tuple[type[Model], ModelHeader]:
    names = " or ".join(kind.FORMAT for kind in kinds)
    content = header_content(file, names, LARGEST_HEADER)
    said = content.get("format") if isinstance(content, dict) else content
    kind = next((kind for kind in kinds if said == kind.FORMAT), None)
    if kind is None:
        raise ValueError(f"is not a {names} but {str(said)[:80]!r}")
    if content.get("version") not in kind.READABLE:
        raise ValueError(
            f"has schema version {str(content.get('version'))[:80]}, this program reads versions up to "
            f"{kind.VERSION}; use the version of forceserver that wrote it, or fit it again"
        )
    try:
        return kind, kind.HEADER.model_validate(content)
    except pydantic.ValidationError as error:
        raise ValueError(explain(error, "its header", kind.HEADER)) from error


def _check_numbers(arrays: Mapping[str, NDArray]) -> None:
    for name, array in arrays.items():
        if array.dtype == np.float64 and not np.isfinite(array).all():
            place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
            raise ValueError(f"{name}: the number at {place} is {array[place]}")


def _dump(interactions: tuple[PairInteraction, ...]) -> list[dict[str, Any]]:
    return [interaction.model_dump(mode="json") for interaction in interactions]
