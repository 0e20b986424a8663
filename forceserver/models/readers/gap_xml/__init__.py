"""Potentials of QUIP's `gap_fit` (.xml with its sparseX files), read as `GapModel`.

`document` reads the file, `descriptors` the strings in it; `soap`, `pairs` and `glue` convert each part. References: A.
P. Bartok, M. C. Payne, R. Kondor, G. Csanyi, Phys. Rev. Lett. 104, 136403 (2010); S. Klawohn et al., J. Chem. Phys.
159, 174108 (2023).
"""

import re
from pathlib import Path

import pydantic

from ....errors import InputError
from ....sections import explain
from ...kernel import GapModel
from . import document, glue, pairs, soap
from .descriptors import Distance, Soap, parse
from .document import Document

REMEDY = (
    'quippy computes it behind kind = "ase" (calculator = "quippy.potential.Potential", arguments = '
    '{{ param_filename = "{name}" }})'
)


class NotComputed(ValueError):
    """The file is valid, but requires something that this program does not support."""


def load(path: Path) -> GapModel:
    """Reads a potential.

    Args:
        path: the .xml that `gap_fit` has written. The files of its sparse points must be in the same folder.

    Returns:
        The model, which gives QUIP's energies to the accuracy of its splines.

    Raises:
        InputError: the file is of another kind, damaged or incomplete, or the potential contains something unsupported
            (the error names the descriptor, key or baseline, and a remedy).
    """
    try:
        found = document.read(path)
        return _model(path.name, found)
    except NotComputed as error:
        raise InputError(f"model {path}: {error}; {REMEDY.format(name=path.name)}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"model {path}: is no potential of gap_fit that can be read: {error}") from error


def _told(error: ValueError) -> str:
    return explain(error, "what it asks for") if isinstance(error, pydantic.ValidationError) else str(error)


def _model(name: str, found: Document) -> GapModel:
    try:
        parsed = [(parse(one.descriptor), one) for one in found.coordinates]
        tables, of_glue = _baseline(found)
    except ValueError as error:
        raise NotComputed(_told(error)) from error
    soaps = [(its, one) for its, one in parsed if isinstance(its, Soap)]
    distances = [(its, one) for its, one in parsed if isinstance(its, Distance)]
    species = _species(found, soaps, distances, of_glue)
    e0 = {s: found.energies.get(s, found.energy) + of_glue.get(s, 0.0) for s in species}
    try:
        terms = soap.terms(soaps, species, found.version)
        two_body = [pair for its, one in distances for pair in pairs.interactions(its, one, species)]
    except ValueError as error:
        raise NotComputed(_told(error)) from error
    summary = {"made_by": "gap_fit", "file": name, "gap_version": found.version}
    model = GapModel(species=species, energies=e0, soap=terms, pairs=(*two_body, *tables), summary=summary)
    model.check()
    return model


def _baseline(found: Document) -> tuple:
    """The pair potentials and atomic energies of the potentials that are added to the GAP."""
    parts = [part.split()[:2] for part in re.findall(r"IP\s+\w+", found.init_args)]
    others = [part[1] for part in parts if part[1] != "GAP"]
    if not others:
        return (), {}
    if others != ["Glue"]:
        raise ValueError(f"baseline IP {', IP '.join(others)}; only one Glue can be computed")
    return glue.baseline(found.root)


def _species(found: Document, soaps: list, distances: list, of_glue: dict[int, float]) -> tuple[int, ...]:
    """The species that are named anywhere; the file has an energy for every chemical element, most of them zero."""
    named = {s for its, _ in soaps for s in (*its.Z, *its.species_Z)}
    named |= {s for its, _ in distances for s in (its.Z1, its.Z2)}
    named |= {s for s, energy in found.energies.items() if energy != found.energy} | set(of_glue)
    named.discard(0)
    if not named:
        raise ValueError("neither a descriptor nor an energy e0 names a species")
    return tuple(sorted(named))
