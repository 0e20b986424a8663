"""What has changed in a PLUMED input since the bias began, and which of it makes another bias of PLUMED's files.

PLUMED reads the hills of a HILLS file as they are, whatever they were made for. It divides their heights by
gamma / (gamma - 1) with the bias factor of now, takes them in the units of now, and looks at nothing but the label of a
variable.
"""

import re
from collections.abc import Iterator, Sequence

from ...errors import shortened
from .actions import FORGETFUL, GROWING
from .input import Action, action_of, keyword, label_of, split

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
        self.unit_words = sorted(word for line in self.units for word in split(line))
        self._labelled = {label: words for words in actions if (label := label_of(words))}
        self.growing: dict[str, Action] = {}
        for words in actions:
            name = action_of(words)[0]
            if name in GROWING or name in FORGETFUL:
                self.growing[label_of(words) or f"{name} {len(self.growing) + 1}"] = words

    @property
    def energy_unit(self) -> str:
        """Of PLUMED's files."""
        return next((unit for line in self.units if (unit := keyword(split(line), "ENERGY"))), "kJ/mol")

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
    return why_other_numbers(before, now) or next(_other_variables(before, now), "")


def why_other_numbers(before: Input, now: Input) -> str:
    """What makes other energies or lengths of the numbers in the files; empty if nothing does."""
    if before.growing and now.growing and before.unit_words != now.unit_words:
        return f"{_told(before.units)} has become {_told(now.units)}: PLUMED takes its files to be in the units of now"
    for key, old, words in _growing_in_both(before, now):
        for name, what in _fixed(action_of(words)[0]).items():
            if change := _changed(name, key, old, words):
                return f"{change}: {what}"
    return ""


def other_variables_or_temperatures(other: Input, now: Input) -> list[str]:
    """What walkers hardly ever mean to differ in, but may, as text."""
    temperatures = [_changed("TEMP", key, old, words) for key, old, words in _growing_in_both(other, now)]
    return [*filter(None, temperatures), *_other_variables(other, now)]


def _other_variables(before: Input, now: Input) -> Iterator[str]:
    for key, old, words in _growing_in_both(before, now):
        were, are = before.definitions(old), now.definitions(words)
        for label in were.keys() & are.keys():
            if were[label] != are[label]:
                yield f"{key} acts on another variable: '{were[label]}' has become '{are[label]}'"


def _growing_in_both(before: Input, now: Input) -> Iterator[tuple[str, Action, Action]]:
    """The actions that grow in both, by their labels, as they were and as they are."""
    return ((key, before.growing[key], words) for key, words in now.growing.items() if key in before.growing)


def _changed(name: str, key: str, old: Action, words: Action) -> str:
    """How a keyword of an action differs; empty if it does not."""
    was, now = keyword(old, name), keyword(words, name)
    return f"{name} of {key} was {was or 'not given'}, is {now or 'not given'}" if was != now else ""


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


def _told(lines: Sequence[str]) -> str:
    return f"'{lines[0]}'" if lines else "no UNITS"
