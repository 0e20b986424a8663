"""What one `launch` is to do, and how it can end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from .sources import Sources


class ExitCode(IntEnum):
    """Exit codes; a signal gives 128 plus its number."""

    FINISHED = 0
    FAILED = 1
    BAD_INPUT = 2
    NO_DRIVER = 3
    UNTRUSTED = 4


class GiveUp(Exception):
    """No driver, or no CV server, can be started, or none is to go on.

    log: where to look, if not in the log of the first driver. code: what `launch` returns.
    """

    def __init__(self, reason: str, log: Path | None = None, code: ExitCode = ExitCode.NO_DRIVER) -> None:
        super().__init__(reason)
        self.log, self.code = log, code


@dataclass(frozen=True)
class Plan:
    """What all runs of i-PI that one `launch` starts have in common.

    drive: arguments of `forceserver drive`.
    ports: ports of i-PI's TCP sockets, by name.
    """

    drive: Sequence[str]
    ports: Mapping[str, int]
    logs: Path
    drivers: int
    threads: int | None
    deadline_seconds: float
    attempts: int
    evaluation_deadline_seconds: float | None
    sources: Sources
    cv_server_first: bool = False
    """Whether PLUMED inside i-PI needs variables: it asks for them before i-PI listens."""
    served: frozenset[str] = frozenset()
    """Names of the <ffsocket> to which these drivers connect."""

    @property
    def ipi_log(self) -> Path:
        """Where i-PI's output goes."""
        return self.logs / "ipi.log"
