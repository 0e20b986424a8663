"""Results as FORCEREADY."""

from collections.abc import Sequence

import numpy as np
from ase.units import Bohr, Hartree

from ... import _ext
from ...errors import PotentialError
from ...frame import Result
from ...results import check_results
from .extras import encode_extras
from .layout import MessageLayout, ResultNumbers
from .messages import FORCEREADY, HEADER_BYTES, INT, Buffers, pack_strings

_encode = _ext.kernel("atomic_units").encode
_FORCE_UNIT = Hartree / Bohr


class Reply:
    """FORCEREADY of a client, encoded into a buffer that is allocated once; extras follow in a buffer of their own.

    `buffers`: what was encoded last, to be sent with one call.
    """

    _numbers: ResultNumbers

    def __init__(self, layout: MessageLayout, max_extras_bytes: int) -> None:
        self._layout, self._max_extras_bytes = layout, max_extras_bytes
        size = layout.forceready_bytes
        outbox = np.zeros(size + 4 * layout.batch, np.uint8)  # the lengths of the extras at the end stay zero
        outbox[:HEADER_BYTES] = memoryview(FORCEREADY)
        if not layout.shared_memory:
            INT.pack_into(outbox, layout.forceready_count_at, layout.atoms)
            self._numbers = layout.results_in(outbox)
        self._before_extras = memoryview(outbox)[:size]
        self._without_extras: Buffers = [memoryview(outbox)]
        self.buffers = self._without_extras

    def attach(self, numbers: ResultNumbers) -> None:
        """Makes the numbers go into shared memory from now on."""
        self._numbers = numbers

    def detach(self) -> None:
        """Releases the shared memory."""
        del self._numbers

    def encode(self, results: Sequence[Result]) -> None:
        """Encodes results; the last one is repeated until the batch is full.

        Raises `PotentialError` for wrong shapes, numbers that are not finite, and extras that i-PI would choke on.
        """
        numbers = self._numbers
        try:
            finite = _encode(results, numbers.energies, numbers.forces, numbers.virials, Hartree, _FORCE_UNIT)
        except (AttributeError, TypeError, ValueError):  # no Result, or no numbers of the right shape
            finite = False
        if not finite:
            check_results(results, self._layout.atoms)
            raise PotentialError("the potential returned numbers that are too large for atomic units")
        self.buffers = self._without_extras
        for result in results:
            if result.extras:
                self.buffers = [self._before_extras, self._encode_extras(results)]
                break

    def _encode_extras(self, results: Sequence[Result]) -> bytes:
        texts = [encode_extras(result.extras, self._max_extras_bytes) for result in results]
        return pack_strings(texts + texts[-1:] * (self._layout.batch - len(texts)))
