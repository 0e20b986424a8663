"""What has to be known of a plumed.dat before PLUMED reads it: its actions, word by word."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

Action = list[str]


def read_actions(path: Path) -> list[Action]:
    """The actions of a PLUMED input file and of those that it includes, without labels and comments.

    `InputError` if a file cannot be read or an action that goes over several lines does not end.
    """
    return list(_actions(Path(path), depth=0))


def _actions(path: Path, depth: int) -> Iterator[Action]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the PLUMED input {path}: {error}") from error
    if depth > 20:
        raise InputError(f"PLUMED input {path} includes itself")
    open_action: Action | None = None
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if open_action is not None:
            if words and words[0] == "...":
                yield from _included(open_action, depth)
                open_action = None
            else:
                open_action += words
        elif not words:
            continue
        elif words[0] == "ENDPLUMED":
            return
        elif words[-1] == "...":
            open_action = words[:-1]
        else:
            yield from _included(words, depth)
    if open_action is not None:
        raise InputError(f"PLUMED input {path}: the action {' '.join(open_action[:2])} ... does not end with '...'")


def _included(words: Action, depth: int) -> Iterator[Action]:
    action = words[1:] if words[0].endswith(":") else words
    if action and action[0] == "INCLUDE" and keyword(action, "FILE"):
        yield from _actions(Path(keyword(action, "FILE")), depth + 1)
    elif action:
        yield action


def keyword(action: Action, name: str) -> str | None:
    """The value of `NAME=value` in an action."""
    for word in action[1:]:
        if match := re.fullmatch(rf"{name}=\{{?(.*?)\}}?", word):
            return match[1]
    return None
