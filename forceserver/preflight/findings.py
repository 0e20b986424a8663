"""What was looked at, and what came out."""

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
    """One thing that was looked at."""

    verdict: Verdict
    what: str
    text: str
