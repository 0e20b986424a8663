"""Arrays in untrusted `.npz` and `.npy` files: what a file claims is checked before its data are read.

numpy reads as much as a file claims to have. Here the claims come first, and must agree with the size of the file, so
that the caller can reject a shape or a type before memory is spent on it. Members of an `.npz` must be stored as
`numpy.savez` stores them: a compressed one can expand to a thousand times its size.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a file says about an array, before its data."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool = False

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}{', in Fortran order' if self.fortran_order else ''}"


class ArrayFile:
    """An `.npz`, open for reading, a context manager.

    claims: the claim of every array, by name.

    `ValueError`, here and in `read`, for a file that is damaged or claims what it does not have.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise ValueError("there is no such file")
        with _told("it is damaged, or not an .npz file"):
            self._zip = zipfile.ZipFile(path)
        try:
            with _told("it is damaged, or another kind of file"):
                self._members = _members(self._zip, os.path.getsize(path))
            self.claims = {name: self._claim(name) for name in self._members}
        except ValueError:
            self._zip.close()
            raise

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._zip.close()

    def read(self, name: str) -> NDArray:
        """An array of `claims`, writable."""
        with _told(name), self._zip.open(self._members[name]) as file:
            return _data(file, _header(file))

    def _claim(self, name: str) -> Claim:
        member = self._members[name]
        with _told(name), self._zip.open(member) as file:
            claim = _header(file)
            _agrees(claim, member.file_size - file.tell())
        return claim


def read_array(path: Path) -> NDArray:
    """The array of an `.npy` file; `ValueError` if it is damaged, or its size is not what it claims."""
    with _told("it is damaged, or not an .npy file"), open(path, "rb") as file:
        claim = _header(file)
        _agrees(claim, os.path.getsize(path) - file.tell())
        return _data(file, claim)


def checksum(arrays: Mapping[str, NDArray]) -> NDArray[np.uint8]:
    """SHA-256 of names, types, shapes and numbers of all arrays, (32,), to be stored beside them in an `.npz`."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), dtype=np.uint8)


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Whatever zipfile and numpy raise for bytes they cannot read (nearly anything) becomes a `ValueError`."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{where}: {error}") from error


def _members(file: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members by the names of their arrays; their sizes add up to that of the file."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in file.infolist():
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise ValueError(f"{name}: is not an array")
        if name in members:
            raise ValueError(f"{name}: occurs twice")
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(
                f"{name}: is compressed (method {member.compress_type}), which is not read; write the arrays with "
                "numpy.savez"
            )
        members[name] = member
    claimed = sum(member.file_size for member in members.values())
    if claimed > size:
        raise ValueError(f"its arrays claim {claimed} bytes, the file has {size}")
    return members


def _header(file: IO[bytes]) -> Claim:
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"has version {version} of numpy's format")
    shape, fortran_order, dtype = HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("holds Python objects, not numbers")
    return Claim(shape, dtype, fortran_order)


def _agrees(claim: Claim, size: int) -> None:
    claimed = prod(claim.shape) * claim.dtype.itemsize
    if min(claim.shape, default=0) < 0 or claimed != size:
        raise ValueError(f"claims {claimed} bytes ({claim}) and has {size}")


def _data(file: IO[bytes], claim: Claim) -> NDArray:
    size = prod(claim.shape) * claim.dtype.itemsize
    data = bytearray(file.read(size))
    if file.read(1):  # zipfile compares the checksum of a member only at its end
        raise ValueError("has more data than it claims")
    return np.frombuffer(data, claim.dtype).reshape(claim.shape, order="F" if claim.fortran_order else "C")
