"""One `.npz` of arrays under a header (JSON) that says what they are, with a checksum over everything, without pickles.

The header is a `Section` whose `format` and `version` are literals. It is read first; then what the arrays claim to be
is compared with what it promises, and only then are they read.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
import pydantic
from numpy.typing import NDArray

from .files import atomic_write
from .npy_files import ArrayFile, Claim, checksum
from .sections import Section, explain

LARGEST_HEADER = 2**16  # bytes

Header = TypeVar("Header", bound=Section)


def save_headed(path: Path, header: Section, arrays: Mapping[str, NDArray]) -> None:
    """Writes the file; it is complete or not there."""
    content = {"header": np.frombuffer(header.model_dump_json().encode(), dtype=np.uint8), **arrays}
    with atomic_write(path) as part, open(part, "wb") as file:  # numpy would append .npz to a name
        np.savez(file, checksum=checksum(content), **content)  # type: ignore[arg-type]  # none is called allow_pickle


def load_headed(
    path: Path, model: type[Header], expected: Callable[[Header, Mapping[str, Claim]], Mapping[str, Claim]]
) -> tuple[Header, dict[str, NDArray]]:
    """The header and the arrays.

    expected: the arrays that a header promises; sizes that it leaves open are as claimed.
    `ValueError`, `OSError`: the file is damaged, of another kind, of an unknown version, or its arrays do not fit.
    """
    with ArrayFile(path) as file:
        header = _read_header(file, model)
        fixed = {"checksum": Claim((32,), np.dtype(np.uint8)), "header": file.claims["header"]}
        _compare(file.claims, {**expected(header, file.claims), **fixed})
        arrays = {name: file.read(name) for name in file.claims}
    found = arrays.pop("checksum")
    if not np.array_equal(found, checksum(arrays)):
        raise ValueError("its checksum is wrong, the file is damaged; copy or make it again")
    del arrays["header"]
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: holds numbers that are not finite")
    return header, arrays


def _read_header(file: ArrayFile, model: type[Header]) -> Header:
    (name,), (version,) = (get_args(model.model_fields[key].annotation) for key in ("format", "version"))
    claim = file.claims.get("header")
    if claim is None or claim.dtype != np.uint8 or len(claim.shape) != 1 or claim.shape[0] > LARGEST_HEADER:
        raise ValueError(f"is not a {name} (it has no header of one)")
    try:
        content = json.loads(file.read("header").tobytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is damaged: {error}") from error
    if not isinstance(content, dict) or content.get("format") != name:
        said = content.get("format") if isinstance(content, dict) else content
        raise ValueError(f"is not a {name} but {str(said)[:80]!r}")
    if content.get("version") != version:
        raise ValueError(
            f"has schema version {str(content.get('version'))[:80]}, this program reads version {version}; make it anew"
        )
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        raise ValueError(explain(error, "its header", model)) from error


def _compare(claims: Mapping[str, Claim], expected: Mapping[str, Claim]) -> None:
    for name, claim in expected.items():
        if name not in claims:
            raise ValueError(f"{name}: this array is missing")
        if claims[name] != claim:
            raise ValueError(f"{name}: is {claims[name]}, must be {claim}")
    for name in claims:
        if name not in expected:
            raise ValueError(f"{name}: no such array belongs to what its header says")
