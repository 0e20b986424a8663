"""Whether this machine can hold what is about to be allocated."""

import os

from .errors import InputError


def physical_memory() -> float:
    """Memory of this machine, bytes."""
    return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")


def require_memory(needed: float, what: str, remedy: str) -> None:
    """`InputError` if `what`, which takes `needed` bytes, does not fit into the memory of this machine.

    remedy: how to make it smaller.
    """
    if needed > physical_memory():
        raise InputError(
            f"{what} takes {needed / 1e9:.3g} GB of memory, and this machine has {physical_memory() / 1e9:.3g} GB; "
            f"{remedy}"
        )
