"""Whether this machine can hold what is about to be allocated."""

import os

from .errors import InputError


def physical_memory() -> float:
    """Bytes of memory of this machine."""
    return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")


def require_memory(needed: float, what: str, remedy: str) -> None:
    """`InputError` if `needed` bytes, of which `what` consists, are more than this machine has.

    remedy: what makes it smaller.
    """
    if needed > physical_memory():
        raise InputError(
            f"{what} takes {needed / 1e9:.3g} GB of memory, and this machine has {physical_memory() / 1e9:.3g} GB; "
            f"{remedy}"
        )
