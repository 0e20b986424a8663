"""Potentials of networks: a batch is one call, of a size that fits into the memory of the device."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import PotentialError
from ..frame import Frame, Result
from ..turns import in_turn
from .base import Potential

log = logging.getLogger(__name__)

MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")
"""What torch and its extensions say when there is no memory; only some raise `torch.OutOfMemoryError`."""
CACHED_ATOMS = 100
"""About how many atoms a thread of a processor computes at a time: the arrays of many more do not stay in its cache.

Of a MACE of 64 channels, a structure of 64 atoms takes 63 ms alone, 68 with another one, and 119 among eight; a
molecule of 9 atoms 3.3, 3.1 and 3.4 ms among 8, 11 and 16.
"""


class Portions:
    """Computes a batch whole, or after it ran out of memory in halves, quarters, ... from then on.

    Args:
        device: name of the device. On a processor, a batch is divided evenly into portions that stay in its cache.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._largest: int | None = None

    def _size(self, frames: Sequence[Frame]) -> int:
        """How many of these frames are computed together."""
        portions = 1 if self._largest is None else -(-len(frames) // self._largest)
        if self._device == "cpu":
            import torch

            atoms = sum(map(len, frames))
            portions = min(len(frames), max(portions, round(atoms / (CACHED_ATOMS * torch.get_num_threads()))))
        return -(-len(frames) // portions)

    def compute(
        self, function: Callable[[Sequence[Frame], int], list[Result]], frames: Sequence[Frame]
    ) -> list[Result]:
        """The results of all frames.

        Args:
            function: computes some of the frames; its second argument is the place of the first of them.
            frames: the batch.

        Returns:
            One result per frame, in the order of the frames.

        Raises:
            PotentialError: a single frame does not fit. Other exceptions of `function` pass through.
        """
        results: list[Result] = []
        smaller = False
        while len(results) < len(frames):
            left = frames[len(results) :]
            part = left[: self._size(left)]
            try:
                results += function(part, len(results))
                continue
            except Exception as error:  # torch raises several
                if not is_out_of_memory(error):
                    raise
                reason = str(error).strip().partition("\n")[0]
            if len(part) == 1:
                raise PotentialError(
                    f"one structure of {len(part[0])} atoms does not fit into the memory of {self._device} ({reason}): "
                    'take a device with more, precision = "single", or fewer atoms'
                )
            self._largest, smaller = (len(part) + 1) // 2, True
            _free()
        if smaller:
            log.warning(
                "batches of %d structures do not fit into the memory of %s: at most %d are computed together",
                len(frames),
                self._device,
                self._largest,
            )
        return results


class BatchedPotential(Potential):
    """A potential that computes structures of the same periodicity in one call, as many as fit into memory.

    Args:
        device: name of the device, for messages.
    """

    def __init__(self, device: str) -> None:
        self._portions = Portions(device)
        self._constants: dict[tuple[Any, ...], Any] = {}

    def compute_one(self, frame: Frame) -> Result:
        return self.compute([frame])[0]

    @in_turn
    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        if not all(np.array_equal(frame.pbc, frames[0].pbc) for frame in frames):
            return [self.compute_one(frame) for frame in frames]
        return self._portions.compute(self._compute, frames)

    @abstractmethod
    def _compute(self, frames: Sequence[Frame], place: int) -> list[Result]:
        """The results of some of the frames of a batch; `place` is that of the first of them."""

    @abstractmethod
    def _make_constants(self, frames: Sequence[Frame]) -> Any:
        """What depends on species and periodicity, and on what `_inputs_of` gives."""

    def _inputs_of(self, frames: Sequence[Frame]) -> tuple[Any, ...]:
        """What else the constants depend on, for models that read more of a structure."""
        return ()

    def _constants_of(self, frames: Sequence[Frame]) -> Any:
        """The same, made when such frames come for the first time."""
        key = (frames[0].pbc.tobytes(), *(frame.species.tobytes() for frame in frames), self._inputs_of(frames))
        if key not in self._constants:
            if len(self._constants) > 3:  # a batch, its last portion, one frame
                self._constants.clear()
            self._constants[key] = self._make_constants(frames)
        return self._constants[key]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch, or of numpy, says that there is no memory left."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(message in text for message in MESSAGES)
    )


def _free() -> None:
    """Gives back what the failed call had allocated."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
