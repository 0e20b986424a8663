"""Parses the strings that define QUIP's descriptors, such as `soap l_max=6 n_max=8 ...`.

A section holds the supported keys, by QUIP's names. All other keys that affect the result are rejected by name; keys
that only describe how a model was made are skipped. The meaning of the keys and their defaults are defined by
`descriptors.F90` of github.com/libAtoms/GAP.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic import BeforeValidator, Field

from ....sections import Section, explain
from .document import MOST

TRAINING = frozenset(
    [
        "add_species",
        "config_type_n_sparse",
        "config_type_sigma",
        "covariance_type",
        "delta",
        "f0",
        "mark_sparse_atoms",
        "n_sparse",
        "print_sparse_index",
        "sparse_file",
        "sparse_method",
        "theta",
        "theta_fac",
        "theta_file",
        "theta_uniform",
        "unique_descriptor_tolerance",
        "unique_hash_tolerance",
        "xml_version",
        "zeta",
    ]
)
"""Keys of the fit. Those of the kernel are also attributes in the XML, and are read from there, as QUIP does."""

OTHER_NAMES = {"atom_gaussian_width": "atom_sigma", "normalize": "normalise"}

FIXED: Mapping[str, Mapping[str, Any]] = {
    "soap": {
        "average": False,
        "basis_error_exponent": 10.0,
        "covariance_sigma0": 0.0,
        "radial_basis": "EQUISPACED_GAUSS",
        "nu_R": 2.0,
        "nu_S": 2.0,
        "Z_mix": False,
        "R_mix": False,
        "sym_mix": False,
        "coupling": True,
        "K": 0.0,
        "mix_shift": 0.0,
        "Z_map": "",
    },
    "distance_2b": {"n_exponents": 1.0, "tail_exponent": 0.0, "only_intra": False, "only_inter": False},
}
"""Keys that must have these values, QUIP's defaults."""

TOKEN = re.compile(r"""([\w-]+)(?:\s*=\s*(\{[^{}]*\}|"[^"]*"|'[^']*'|\S+))?""")


def _list(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


Number = Annotated[int, Field(ge=0, le=MOST)]
Numbers = Annotated[tuple[Number, ...], BeforeValidator(_list)]


class Soap(Section):
    """`soap`: the power spectrum of neighbours of the species species_Z around atoms of the species Z (0: any)."""

    cutoff: float
    cutoff_transition_width: float = 0.5
    cutoff_dexp: int = Field(default=0, ge=0)
    cutoff_scale: float = Field(default=1.0, gt=0)
    cutoff_rate: float = Field(default=1.0, gt=0)
    l_max: int
    n_max: int
    atom_sigma: float
    central_weight: float = Field(default=1.0, ge=0)
    central_reference_all_species: bool | None = None
    diagonal_radial: bool = False
    normalise: bool = True
    n_Z: int = Field(default=1, ge=1)
    Z: Numbers = (0,)
    n_species: int = Field(default=1, ge=1)
    species_Z: Numbers = (0,)

    @pydantic.model_validator(mode="after")
    def _lists_fit(self) -> "Soap":
        for key, count, numbers in (("Z", self.n_Z, self.Z), ("species_Z", self.n_species, self.species_Z)):
            if len(numbers) != count or len(set(numbers)) < count or (0 in numbers and count > 1):
                raise ValueError(f"{key} = {numbers}: must be {count} different atomic numbers, or 0 alone for any")
        return self


class Distance(Section):
    """`distance_2b`: the distance r of two atoms of the species Z1 and Z2 (0: any), as r^exponents."""

    cutoff: float = Field(gt=0)
    cutoff_transition_width: float = Field(default=0.5, gt=0)
    Z1: Number = 0
    Z2: Number = 0
    exponents: int = 1


KINDS: dict[str, type[Soap] | type[Distance]] = {"soap": Soap, "distance_2b": Distance}


def parse(text: str) -> Soap | Distance:
    """The descriptor defined by a string; `ValueError` names a descriptor, key or value that is not supported."""
    tokens = TOKEN.findall(text)
    kind = tokens[0][0] if tokens else ""
    if kind not in KINDS:
        raise ValueError(f"descriptor {kind!r}; only {' and '.join(KINDS)} can be computed")
    given = {OTHER_NAMES.get(key, key): value.strip("{}\"'").strip() if value else "T" for key, value in tokens[1:]}
    for key, wanted in FIXED[kind].items():
        if key in given and not _is(given.pop(key), wanted):
            raise ValueError(f"descriptor {kind}: {key} is not {_told(wanted)}, the only value that can be computed")
    given = {key: value for key, value in given.items() if key not in TRAINING}
    try:
        return KINDS[kind].model_validate(given)
    except pydantic.ValidationError as error:
        raise ValueError(explain(error, f"descriptor {kind}", KINDS[kind])) from error


def _is(value: str, wanted: Any) -> bool:
    if isinstance(wanted, bool):
        return value.upper().strip(".")[:1] == ("T" if wanted else "F")
    if isinstance(wanted, str):
        return value == wanted
    try:
        return float(value) == wanted
    except ValueError:
        return False


def _told(wanted: Any) -> str:
    if isinstance(wanted, bool):
        return "T" if wanted else "F"
    return f"{wanted:g}" if isinstance(wanted, float) else wanted or "empty"
