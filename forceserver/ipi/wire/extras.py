"""The string that follows the numbers: what i-PI can read, and nothing that makes it hang."""

import json
from typing import Any

import numpy as np
from ase.units import Bohr, Hartree

from ...errors import PotentialError, ProtocolError
from .limits import Limits

ATOMIC_UNITS_OF_EXTRAS = {
    "committee_pot": 1.0 / Hartree,
    "committee_uncertainty": 1.0 / Hartree,
    "committee_virial": 1.0 / Hartree,
    "committee_force": Bohr / Hartree,
    "committee_force_uncertainty": Bohr / Hartree,
    "energy_uncertainty": 1.0 / Hartree,
    "atomic_energy_uncertainty": 1.0 / Hartree,
    "atomic_uncertainty": 1.0 / Hartree,
    "dipole": 1.0 / Bohr,
}
"""Factors for the extras whose names i-PI knows, from eV, Angstrom and elementary charges."""


def _in_atomic_units(extras: dict[str, Any]) -> dict[str, Any]:
    factors = {name: ATOMIC_UNITS_OF_EXTRAS[name] for name in extras.keys() & ATOMIC_UNITS_OF_EXTRAS}
    return extras | {name: np.asarray(extras[name], dtype=np.float64) * factor for name, factor in factors.items()}


def encode_extras(extras: dict[str, Any] | str, max_bytes: int = Limits.max_string_bytes) -> bytes:
    """The extras string as i-PI can read it.

    A dictionary becomes a JSON object, numpy arrays become lists, the names in `ATOMIC_UNITS_OF_EXTRAS` are converted;
    text is sent as it is. i-PI hangs on JSON that is not an object, on a field `raw` and on bytes that are not UTF-8,
    hence `PotentialError` for these, and for numbers that are not finite, which JSON does not have.
    """
    if isinstance(extras, str):
        text = extras
        try:
            value = json.loads(text)
        except ValueError:
            value = {}
    else:
        value = extras
        try:
            text = json.dumps(_in_atomic_units(extras), default=_plain, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise PotentialError(f"the extras cannot be written as JSON: {error}") from error
    if not isinstance(value, dict):
        raise PotentialError(f"the extras are JSON but not an object: {text[:40]!r}")
    if "raw" in value:
        raise PotentialError("the extras have a field 'raw', a name that i-PI reserves")
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise PotentialError(f"the extras cannot be written as UTF-8: {error}") from error
    if len(data) > max_bytes:
        raise PotentialError(f"extras of {len(data)} bytes: at most max_string_bytes = {max_bytes}")
    return data


def decode_extras(data: bytes) -> dict[str, Any]:
    """The extras string as i-PI understands it: a JSON object as a dictionary, other text under the key `raw`.

    The numbers are those of the wire, in atomic units. Raises `ProtocolError` for what makes i-PI hang.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the extras are not UTF-8: {data[:16]!r}") from error
    if not text.strip("\0 \t\n\r"):
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return {"raw": text}
    if not isinstance(value, dict) or "raw" in value:
        raise ProtocolError(f"the extras must be a JSON object without a field 'raw', or no JSON: {text[:40]!r}")
    return value


def in_ev_and_angstrom(extras: dict[str, Any]) -> dict[str, Any]:
    """Decoded extras with the numbers that have a unit (`ATOMIC_UNITS_OF_EXTRAS`) in eV and Angstrom.

    Text that is no JSON is called `text`, since `raw` is i-PI's own word for it and cannot be sent on.
    """
    if "raw" in extras:
        return {"text": extras["raw"]}
    return {
        name: np.asarray(value) / ATOMIC_UNITS_OF_EXTRAS[name] if name in ATOMIC_UNITS_OF_EXTRAS else value
        for name, value in extras.items()
    }


def _plain(value: Any) -> Any:
    """The JSON equivalents of numpy's arrays and scalars."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no equivalent in JSON")
