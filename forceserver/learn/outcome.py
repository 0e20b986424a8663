"""What became of the simulations of a round."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import rounds
from .rounds import Round

OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """What became of a simulation.

    steps: done, of `total`, those of the rounds in which it was stopped before included: it went on from step `began`.
    end: "complete"; "uncertain", stopped where the model was; "failed", with its last words in `said`.
    uncertainty: eV/Angstrom, of the structure that has stopped it. timestep_fs: None if it is not known.
    """

    name: str
    steps: int
    total: int
    end: str
    uncertainty: float | None = None
    said: str | None = None
    began: int = 0
    timestep_fs: float | None = None

    @property
    def length_ps(self) -> float | None:
        """From its first step on, whatever models it has had."""
        return None if self.timestep_fs is None else self.steps * self.timestep_fs / 1000

    @property
    def new_ps(self) -> float | None:
        """What was simulated in this round."""
        return None if self.timestep_fs is None else max(self.steps - self.began, 0) * self.timestep_fs / 1000


def outcomes(one: Round, names: Iterable[str]) -> Iterator[Outcome]:
    """Those of a round that are known."""
    for name in names:
        record = rounds.read_json(one.simulations / name / OUTCOME)
        if record is not None:
            yield Outcome(**record)
