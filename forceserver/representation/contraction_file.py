"""The file of a contraction: one `.npz` without pickles, as those of models.

header (JSON): format, version, the basis, whether species are summed. matrices/Z (l_max + 1, q, n_max) for every
neighbour species of atomic number Z; eigenvalues/Z (l_max + 1, number), Z = 0 for all species together; checksum:
SHA-256 over all others.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import Field

from ..errors import InputError
from ..files import atomic_write
from ..npy_files import ArrayFile, Claim, checksum
from ..sections import Section, explain
from .bases import AnyRadialBasis
from .contraction import ALL, Contraction

FORMAT = "forceserver contraction"
VERSION: Final = 1
LARGEST_HEADER = 2**16  # bytes
MOST_FUNCTIONS = 4096

AtomicNumber = Annotated[int, Field(ge=1, le=118)]


class ContractionHeader(Section):
    """What a file says of itself."""

    format: Literal["forceserver contraction"]
    version: Literal[1]
    length: Literal["angstrom"] = "angstrom"
    basis: AnyRadialBasis
    sum_species: bool
    species: tuple[AtomicNumber, ...] = Field(min_length=1)


def save(contraction: Contraction, path: Path) -> None:
    """Writes the file; it is complete or not there."""
    header = ContractionHeader(
        format="forceserver contraction",
        version=VERSION,
        basis=contraction.basis,
        sum_species=contraction.sum_species,
        species=contraction.species,
    )
    arrays: dict[str, NDArray] = {"header": np.frombuffer(header.model_dump_json().encode(), dtype=np.uint8)}
    arrays |= {f"matrices/{s}": matrix for s, matrix in contraction.matrices.items()}
    arrays |= {f"eigenvalues/{s}": values for s, values in contraction.eigenvalues.items()}
    with atomic_write(path) as part, open(part, "wb") as file:  # numpy would append .npz to a name
        np.savez(file, checksum=checksum(arrays), **arrays)  # type: ignore[arg-type]  # none is called allow_pickle


def load(path: str | Path) -> Contraction:
    """Reads a file; `InputError` names what is damaged, of another kind, of an unknown version, or does not fit."""
    path = Path(path)
    try:
        with ArrayFile(path) as file:
            header = _read_header(file)
            _check_claims(header, file.claims)
            arrays = {name: file.read(name) for name in file.claims}
        found = arrays.pop("checksum")
        if not np.array_equal(found, checksum(arrays)):
            raise ValueError("its checksum is wrong, the file is damaged; copy or make it again")
        for name, array in arrays.items():
            if name != "header" and not np.isfinite(array).all():
                raise ValueError(f"{name}: holds numbers that are not finite")
    except (OSError, ValueError) as error:
        raise InputError(f"contraction {path}: {error}") from error
    spectra = (ALL,) if header.sum_species else header.species
    return Contraction(
        header.basis,
        header.sum_species,
        {s: arrays[f"matrices/{s}"] for s in header.species},
        {s: arrays[f"eigenvalues/{s}"] for s in spectra},
    )


def _read_header(file: ArrayFile) -> ContractionHeader:
    claim = file.claims.get("header")
    if claim is None or claim.dtype != np.uint8 or len(claim.shape) != 1 or claim.shape[0] > LARGEST_HEADER:
        raise ValueError(f"is not a {FORMAT} (it has no header of one)")
    try:
        content = json.loads(file.read("header").tobytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is damaged: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        said = content.get("format") if isinstance(content, dict) else content
        raise ValueError(f"is not a {FORMAT} but {str(said)[:80]!r}")
    if content.get("version") != VERSION:
        raise ValueError(
            f"has schema version {str(content.get('version'))[:80]}, this program reads version {VERSION}; make it anew"
        )
    try:
        return ContractionHeader.model_validate(content)
    except pydantic.ValidationError as error:
        raise ValueError(explain(error, "its header", ContractionHeader)) from error


def _check_claims(header: ContractionHeader, claims: Mapping[str, Claim]) -> None:
    """`ValueError` unless there are the arrays that the header promises, and no others, in shapes that fit together."""
    first = claims.get(f"matrices/{header.species[0]}")
    q = first.shape[1] if first is not None and len(first.shape) == 3 else 1
    if not 1 <= q <= MOST_FUNCTIONS:
        raise ValueError(f"matrices/{header.species[0]}: has {q} functions, must have 1 .. {MOST_FUNCTIONS}")
    real, degrees, n_max = np.dtype(np.float64), header.basis.l_max + 1, header.basis.n_max
    number = n_max * (len(header.species) if header.sum_species else 1)
    expected = {f"matrices/{s}": Claim((degrees, q, n_max), real) for s in header.species}
    for s in (ALL,) if header.sum_species else header.species:
        expected[f"eigenvalues/{s}"] = Claim((degrees, number), real)
    expected |= {"checksum": Claim((32,), np.dtype(np.uint8)), "header": claims["header"]}
    for name, claim in expected.items():
        if name not in claims:
            raise ValueError(f"{name}: this array is missing")
        if claims[name] != claim:
            raise ValueError(f"{name}: is {claims[name]}, must be {claim}")
    for name in claims:
        if name not in expected:
            raise ValueError(f"{name}: no such array belongs to a contraction of this basis and these species")
