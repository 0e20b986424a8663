"""What has changed in a PLUMED input since the bias began, and which of it makes another bias of PLUMED's files.

PLUMED reads the hills of a HILLS file as they are, whatever they were made for. It divides their heights by
gamma / (gamma - 1) with the bias factor of now, takes them in the units of now, and looks at nothing but the label of a
variable.
"""

import re
from collections.abc import Sequence

from ...errors import shortened
from .input import FORGETFUL, GROWING, Action, keyword, label_of, split

SCALE_WITH_TEMPERATURE = ("OPES_METAD", "OPES_METAD_EXPLORE", "OPES_EXPANDED")
"""Actions whose bias is k_B T times what they have learned."""

LONGEST = 120
"""Characters of a line in a message."""


class Input:
    """The actions of an input with their labels, as lines or as `read_input` gives them."""

    def __init__(self, lines: Sequence[str]) -> None:
        actions = [split(line) for line in lines]
        self.lines = list(lines)
        self.units = [line for line, words in zip(lines, actions, strict=True) if words[0] == "UNITS"]
        self._labelled = {label: words for words in actions if (label := label_of(words))}
        self.growing: dict[str, Action] = {}
        for words in actions:
            name = _action(words)[0]
            if name in GROWING or name in FORGETFUL:
                self.growing[label_of(words) or f"{name} {len(self.growing) + 1}"] = words

    def definitions(self, words: Action) -> dict[str, str]:
        """The lines of all variables on which an action depends, by their labels."""
        found: dict[str, str] = {}
        waiting = [words]
        while waiting:
            for label in re.findall(r"[\w@-]+", " ".join(waiting.pop()[1:])):
                if label in self._labelled and label not in found and self._labelled[label] is not words:
                    found[label] = " ".join(self._labelled[label])
                    waiting.append(self._labelled[label])
        return found


def as_lines(actions: Sequence[Action]) -> list[str]:
    """The actions of `read_input`, one line each."""
    return [" ".join(words) for words in actions]


def why_another_bias(before: Input, now: Input) -> str:
    """What makes another bias of the files of the bias; empty if nothing does."""
    if now.growing and before.units != now.units:
        return f"{_told(before.units)} has become {_told(now.units)}, and PLUMED's files are in the units of before"
    for key, words in now.growing.items():
        if (old := before.growing.get(key)) is None:
            continue
        for name, what in _fixed(_action(words)[0]).items():
            if keyword(old, name) != keyword(words, name):
                return (
                    f"{name} of {key} was {keyword(old, name) or 'not given'}, is {keyword(words, name) or 'not given'}"
                    f": {what}"
                )
        were, are = before.definitions(old), now.definitions(words)
        for label in were.keys() & are.keys():
            if were[label] != are[label]:
                return f"{key} acts on another variable: '{were[label]}' has become '{are[label]}'"
    return ""


def changed_lines(before: Input, now: Input) -> list[str]:
    """What differs, as text."""
    gone = [f"without {shortened(line, LONGEST)}" for line in before.lines if line not in now.lines]
    return gone + [f"with {shortened(line, LONGEST)}" for line in now.lines if line not in before.lines]


def _fixed(name: str) -> dict[str, str]:
    """Keywords of an action that must not change, and why."""
    found = {}
    if name in ("METAD", "PBMETAD"):
        found["BIASFACTOR"] = "heights in HILLS are multiplied by gamma / (gamma - 1)"
    if name in SCALE_WITH_TEMPERATURE:
        found["TEMP"] = "what has been learned is in units of k_B T"
    return found


def _action(words: Action) -> Action:
    return words[1:] if words[0].endswith(":") and len(words) > 1 else words


def _told(lines: Sequence[str]) -> str:
    return f"'{lines[0]}'" if lines else "no UNITS"
