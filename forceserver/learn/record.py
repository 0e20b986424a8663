"""One round of a run as its history tells it."""

from dataclasses import dataclass
from typing import Any

from .judging import CONTROL
from .outcome import Outcome


@dataclass(frozen=True)
class Record:
    """A round: its model, what its simulations met, and how wrong it was there.

    structures: in training. references: calculations so far, `failed` of them without a result.
    threshold: eV/Angstrom. outcomes: of the simulations. judged: errors by kind, `judging.summary`, known after the
    calculations of the next round. test: root-mean-square errors of the test structures, if there are any.
    """

    round: int
    structures: int
    references: int
    failed: int
    threshold: float | None
    outcomes: list[Outcome]
    judged: dict[str, Any]
    test: dict[str, float]

    @property
    def control(self) -> float | None:
        """Error of a force component in what the simulations met at random, eV/Angstrom."""
        return self.error(CONTROL)

    def error(self, kind: str) -> float | None:
        """Root-mean-square error of a force component in the structures of a kind, eV/Angstrom."""
        return self.judged[kind]["force_rmse_ev_per_angstrom"] if kind in self.judged else None

    @property
    def test_error(self) -> float | None:
        """The same of the test structures."""
        found = next((value for name, value in self.test.items() if name.startswith("force")), None)
        return None if found is None else found / 1000

    @property
    def reached(self) -> float:
        """The share of the steps of all simulations that were done."""
        return sum(one.steps for one in self.outcomes) / max(sum(one.total for one in self.outcomes), 1)

    @property
    def all_complete(self) -> bool:
        """Whether every simulation was completed by the model of this round alone, from its first step on."""
        return bool(self.outcomes) and all(one.end == "complete" and not one.began for one in self.outcomes)
