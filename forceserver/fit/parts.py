"""What a fit that was interrupted has done already: factors of groups of structures, in a folder beside the model."""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import atomic_write
from ..locks import same_file, try_lock
from ..npy_files import ArrayFile, Claim
from .regression import QUANTITIES, Factor

log = logging.getLogger(__name__)


@contextlib.contextmanager
def folder_for(model: Path) -> Iterator[Path]:
    """The folder of a model that is being fitted; it stays if the body raises, for the next fit.

    `InputError` if another fit writes this model, `OSError` if the folder cannot be written.
    """
    folder = model.with_name(f"{model.stem}.parts")
    descriptor = _locked(folder, model)
    try:
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _locked(folder: Path, model: Path) -> int:
    """An open file that is the lock of the folder until it is closed."""
    path = folder / "lock"
    while True:
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # removed in between by a fit that is done
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                free = try_lock(descriptor)
            except OSError:  # a file system without locks
                return descriptor
            if free and same_file(descriptor, path):
                return descriptor
            os.close(descriptor)
            if not free:
                raise InputError(f"another fit writes {model}: wait for it, or give this one another output")


def write(path: Path, fingerprint: str, factors: dict[str, Factor]) -> None:
    """The factors of a group; fingerprint: of all that they depend on."""
    arrays = {quantity: factor.r for quantity, factor in factors.items() if factor.count}
    counts = [factors[quantity].count for quantity in QUANTITIES]
    with atomic_write(path) as part:
        np.savez(part, fingerprint=fingerprint, counts=counts, **arrays)  # type: ignore[arg-type]  # none is allow_pickle


def read(path: Path, fingerprint: str, n: int) -> dict[str, Factor] | None:
    """The factors (of n columns) of a group, or None if they are not there, damaged, or of another fit."""
    if not path.exists():
        return None
    try:
        with ArrayFile(path) as file:
            if "fingerprint" not in file.claims or str(file.read("fingerprint")) != fingerprint:
                return None
            counts = file.read("counts").tolist()
            factors = {quantity: Factor(n) for quantity in QUANTITIES}
            for (quantity, factor), count in zip(factors.items(), counts, strict=True):
                factor.count = count
                if count:
                    _must_be(quantity, file.claims[quantity], (min(count, n + 1), n + 1))
                    factor.r = np.asfortranarray(file.read(quantity))
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: cannot be read, its structures are computed again: %s", path, error)
        return None
    log.info("%s: taken from the fit that was interrupted", path)
    return factors


def _must_be(name: str, claim: Claim, shape: tuple[int, int]) -> None:
    if claim.shape != shape or claim.dtype != np.float64:
        raise ValueError(f"{name}: is {claim}, must be float64 {shape}")
