"""One `.npz` of arrays under a header (JSON) that describes them, with a checksum over everything, without pickles.

The header is read first; then the declared shapes and types of the arrays are compared with what it requires, and only
then are they read. Models have headers of several kinds and versions (`models.base`); other files have one `Section`
whose `format` and `version` are literals.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import pydantic
from numpy.typing import NDArray

from .files import atomic_write
from .npy_files import ArrayFile, Claim, checksum
from .sections import Section, explain

LARGEST_HEADER = 2**16  # bytes
CHECKSUM = Claim((32,), np.dtype(np.uint8))

Header = TypeVar("Header", bound=Section)


def save_headed(path: Path, header: Section, arrays: Mapping[str, NDArray]) -> None:
    """Writes the file, completely or not at all."""
    save_arrays(path, header.model_dump_json(), arrays)


def load_headed(
    path: Path, model: type[Header], expected: Callable[[Header, Mapping[str, Claim]], Mapping[str, Claim]]
) -> tuple[Header, dict[str, NDArray]]:
    """The header and the arrays.

    expected: the arrays that a header requires; sizes that it leaves open are as claimed.
    `ValueError`, `OSError`: the file is damaged, of another kind, of an unknown version, or its arrays do not fit.
    """
    with ArrayFile(path) as file:
        header = _read_header(file, model)
        check_claims(file.claims, expected(header, file.claims))
        arrays = read_arrays(file)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: holds numbers that are not finite")
    return header, arrays


def save_arrays(path: Path, header: str, arrays: Mapping[str, NDArray]) -> None:
    """Writes a header (JSON) and arrays, completely or not at all."""
    content = {**arrays, "header": np.frombuffer(header.encode(), dtype=np.uint8)}
    with atomic_write(path) as part, open(part, "wb") as file:  # numpy would append .npz to a name
        np.savez(file, checksum=checksum(content), **content)  # type: ignore[arg-type]  # none is called allow_pickle


def header_content(file: ArrayFile, kind: str, largest: int = LARGEST_HEADER) -> Any:
    """The content of the header, of at most `largest` bytes; `ValueError`, which names the kind, if there is none."""
    claim = file.claims.get("header")
    if claim is None or file.claims.get("checksum") != CHECKSUM:
        raise ValueError(f"is not a {kind} (it has no header with a checksum)")
    if claim.dtype != np.uint8 or len(claim.shape) != 1 or claim.shape[0] > largest:
        raise ValueError(f"header: is {claim}, must be uint8, one-dimensional, of {largest} bytes at most")
    try:
        return json.loads(file.read("header").tobytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is damaged: {error}") from error


def check_claims(claims: Mapping[str, Claim], expected: Mapping[str, Claim], *, free: str | None = None) -> None:
    """`ValueError` unless the arrays are those expected, besides any whose names begin with `free`."""
    for name, claim in expected.items():
        if name not in claims:
            raise ValueError(f"{name}: this array is missing")
        if claims[name] != claim:
            raise ValueError(f"{name}: is {claims[name]}, must be {claim}")
    for name in sorted(claims.keys() - expected.keys() - {"header", "checksum"}):
        if free is None or not name.startswith(free):
            raise ValueError(f"{name}: no such array belongs to a file with this header")


def read_arrays(file: ArrayFile) -> dict[str, NDArray]:
    """All arrays but header and checksum; `ValueError` if the checksum is wrong."""
    arrays = {name: file.read(name) for name in file.claims}
    found = arrays.pop("checksum")
    if not np.array_equal(found, checksum(arrays)):
        raise ValueError("its checksum is wrong, the file is damaged; copy it again, or make it again")
    del arrays["header"]
    return arrays


def _read_header(file: ArrayFile, model: type[Header]) -> Header:
    (name,), (version,) = (get_args(model.model_fields[key].annotation) for key in ("format", "version"))
    content = header_content(file, name)
    if not isinstance(content, dict) or content.get("format") != name:
        said = content.get("format") if isinstance(content, dict) else content
        raise ValueError(f"is not a {name} but {str(said)[:80]!r}")
    if content.get("version") != version:
        raise ValueError(
            f"has schema version {str(content.get('version'))[:80]}, this program reads version {version}; "
            "make the file again"
        )
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        raise ValueError(explain(error, "its header", model)) from error
