"""What was examined, and with what result."""

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How a finding is shown: the word, and its colour."""

    OK = ("ok", "green")
    ADVICE = ("advice", "yellow")
    WRONG = ("wrong", "red")


OK, ADVICE, WRONG = Verdict.OK, Verdict.ADVICE, Verdict.WRONG


@dataclass(frozen=True)
class Finding:
    """The result of one examination."""

    verdict: Verdict
    what: str
    text: str
