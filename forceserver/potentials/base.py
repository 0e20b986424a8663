"""The interface of a potential.

A potential takes frames and returns results. It knows nothing of sockets, configuration files or any units but eV and
Angstrom. Everything slow (reading a model, allocating memory) happens in the constructor, so that a driver connects
only when the potential is ready.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..errors import PotentialError
from ..frame import Frame, Result
from ..results import check_count, check_results

SKIN = 0.5
"""Skin of neighbour lists, Angstrom: how far they reach beyond the cutoff, so as to last for several steps."""


class Potential(ABC):
    """Base class of all potentials, which compute energies, forces and virials of frames.

    A subclass must define `compute_one`. One that evaluates several frames more efficiently together (threads over
    beads, one padded call) also overrides `compute`. Both may raise any exception; the driver reports it with the
    frame. Every result owns its arrays: later calls do not change them.
    """

    @abstractmethod
    def compute_one(self, frame: Frame) -> Result:
        """Computes one frame.

        Args:
            frame: the structure.

        Returns:
            Energy (eV), forces (N, 3) in eV/Angstrom, virial (3, 3) in eV, and extras.

        Raises:
            PotentialError: the frame cannot be computed; a subclass may raise any other exception too.
        """

    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        """Computes a batch of frames.

        Args:
            frames: structures with the same species in the same order.

        Returns:
            One result per frame, in the order of the frames.

        Raises:
            PotentialError: a frame cannot be computed; a subclass may raise any other exception too.
        """
        return [self.compute_checked(frame) for frame in frames]

    @property
    def computes_batches(self) -> bool:
        """Whether `compute` does more than call `compute_one` for one frame after the other."""
        return type(self).compute is not Potential.compute

    def compute_checked(self, frame: Frame) -> Result:
        """What `compute_one` returns.

        Args:
            frame: the structure.

        Returns:
            The result.

        Raises:
            PotentialError: it is no `Result`. Exceptions of `compute_one` pass through unchanged.
        """
        result = self.compute_one(frame)
        if not isinstance(result, Result):
            name, given = type(self).__name__, type(result).__name__
            raise PotentialError(f"{name}.compute_one returns a {given}, not a Result(energy, forces, virial)")
        return result

    def begin_connection(self) -> None:  # noqa: B027 - optional
        """Called when a server has connected, perhaps after a restart; history-dependent potentials check for one."""

    def close(self) -> None:  # noqa: B027 - optional
        """Releases resources of the operating system (libraries, processes); called once, at the end."""


def compute_all(potentials: Sequence[Potential], frames: Sequence[Frame]) -> list[tuple[Result, ...]]:
    """What several potentials give for the same frames, to be combined: for each frame, the results in their order.

    Raises `PotentialError` for one whose numbers are missing, of another shape or not finite: numpy would stretch a
    virial of three numbers to nine.
    """
    by_potential = [potential.compute(frames) for potential in potentials]
    for results in by_potential:
        check_count(results, len(frames))
        check_results(results, len(frames[0]) if frames else 0)
    return list(zip(*by_potential, strict=True))
