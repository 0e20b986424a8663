"""The file of a contraction: one `.npz` without pickles, like those of models.

header (JSON): format, version, the basis, whether species are summed. matrices/Z (l_max + 1, q, n_max) for every
neighbour species of atomic number Z; eigenvalues/Z (l_max + 1, number), Z = 0 for all species together; checksum:
SHA-256 over all others.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field

from ..errors import InputError
from ..headed_files import load_headed, save_headed
from ..npy_files import Claim
from ..sections import Section
from .bases import AnyRadialBasis
from .contraction import ALL, Contraction

VERSION: Final = 1
MOST_FUNCTIONS = 4096

AtomicNumber = Annotated[int, Field(ge=1, le=118)]


class ContractionHeader(Section):
    """Header of a file."""

    format: Literal["forceserver contraction"]
    version: Literal[1]
    length: Literal["angstrom"] = "angstrom"
    basis: AnyRadialBasis
    sum_species: bool
    species: tuple[AtomicNumber, ...] = Field(min_length=1)


def save(contraction: Contraction, path: Path) -> None:
    """Writes the file, completely or not at all."""
    header = ContractionHeader(
        format="forceserver contraction",
        version=VERSION,
        basis=contraction.basis,
        sum_species=contraction.sum_species,
        species=contraction.species,
    )
    arrays = {f"matrices/{s}": matrix for s, matrix in contraction.matrices.items()}
    save_headed(path, header, arrays | {f"eigenvalues/{s}": values for s, values in contraction.eigenvalues.items()})


def load(path: str | Path) -> Contraction:
    """Reads a file. `InputError` says what is damaged, of another kind, of an unknown version, or inconsistent."""
    try:
        header, arrays = load_headed(Path(path), ContractionHeader, _expected)
    except (OSError, ValueError) as error:
        raise InputError(f"contraction {path}: {error}") from error
    spectra = (ALL,) if header.sum_species else header.species
    return Contraction(
        header.basis,
        header.sum_species,
        {s: arrays[f"matrices/{s}"] for s in header.species},
        {s: arrays[f"eigenvalues/{s}"] for s in spectra},
    )


def _expected(header: ContractionHeader, claims: Mapping[str, Claim]) -> dict[str, Claim]:
    """The arrays that the header declares; the number of functions is taken from `claims`."""
    first = claims.get(f"matrices/{header.species[0]}")
    q = first.shape[1] if first is not None and len(first.shape) == 3 else 1
    if not 1 <= q <= MOST_FUNCTIONS:
        raise ValueError(f"matrices/{header.species[0]}: has {q} functions, must have 1 .. {MOST_FUNCTIONS}")
    real, degrees, n_max = np.dtype(np.float64), header.basis.l_max + 1, header.basis.n_max
    number = n_max * (len(header.species) if header.sum_species else 1)
    expected = {f"matrices/{s}": Claim((degrees, q, n_max), real) for s in header.species}
    for s in (ALL,) if header.sum_species else header.species:
        expected[f"eigenvalues/{s}"] = Claim((degrees, number), real)
    return expected
