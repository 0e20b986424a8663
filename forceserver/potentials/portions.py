"""Batches of a size that fits into the memory of the device: found by trying, said once."""

import logging
from collections.abc import Callable, Sequence

from ..errors import PotentialError
from ..frame import Frame, Result

log = logging.getLogger(__name__)

MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")
"""What torch and its extensions say when there is no memory; only some raise `torch.OutOfMemoryError`."""


class Portions:
    """Computes a batch whole, or after it ran out of memory in halves, quarters, ... from then on.

    Args:
        device: name of the device, for messages.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._largest: int | None = None

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
            part = frames[len(results) :][: self._largest]
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
