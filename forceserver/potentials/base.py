"""The interface of a potential.

A potential gets frames and returns results, nothing else: it knows no sockets, no units but eV and Angstrom, no
configuration files. Whatever is slow (reading a model, allocating) happens in the constructor, so that a driver
connects only when the potential is ready.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..frame import Frame, Result


class Potential(ABC):
    """Energies, forces and virials of frames.

    `compute_one` is all that a potential must have. One that can do better on several frames at once (threads over
    beads, one padded call) overrides `compute`. Both may raise any exception: the driver reports it with the frame.
    Every result owns its arrays: a later call does not change them.
    """

    @abstractmethod
    def compute_one(self, frame: Frame) -> Result:
        """The result for one frame."""

    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        """The results for frames that have the same species in the same order, in the order of the frames."""
        return [self.compute_one(frame) for frame in frames]

    def begin_connection(self) -> None:  # noqa: B027 - optional
        """A server has connected, perhaps one that was started again: what depends on its past may look back."""

    def close(self) -> None:  # noqa: B027 - optional
        """Gives back what the operating system should not keep (libraries, processes); called once, at the end."""
