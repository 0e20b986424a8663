"""What a plumed.dat says, known before PLUMED reads it: actions, and the files that they read and write."""

import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import InputError

Action = list[str]


def read_actions(path: Path, folder: Path = Path()) -> list[Action]:
    """The actions of a PLUMED input file and of those that it includes, without labels and comments.

    folder: where PLUMED runs; the names of included files are relative to it.
    `InputError` if a file cannot be read or an action that goes over several lines does not end.
    """
    return [action_of(words) for words in read_input(path, folder)]


def read_input(path: Path, folder: Path = Path()) -> list[Action]:
    """The same actions with their labels, which are a first word that ends with a colon, or LABEL=."""
    return [words for words in _actions(Path(path), folder, depth=0) if not _include(action_of(words))]


def included_files(path: Path, folder: Path) -> list[str]:
    """The names of the files that an input includes, and of those that these include."""
    return [name for words in _actions(path, folder, depth=0) if (name := _include(action_of(words)))]


def label_of(words: Action) -> str:
    """The label of an action as `read_input` gives it; empty if PLUMED makes one."""
    return words[0].removesuffix(":") if words[0].endswith(":") else keyword(words, "LABEL") or ""


def action_of(words: Action) -> Action:
    """The action without its label."""
    return words[1:] if words[0].endswith(":") and len(words) > 1 else words


def named_files(path: Path, folder: Path) -> set[str]:
    """The files in `folder` that a PLUMED input and those that it includes name: read, or written by an earlier run.

    Errors as for `read_actions`.
    """
    words = (word for action in _actions(path, folder, depth=0) for word in action[1:])
    values = (word.partition("=")[2].strip("{}") for word in words)
    return {name for value in values for name in value.split(",") if name and (folder / name).is_file()}


def _actions(path: Path, folder: Path, depth: int) -> Iterator[Action]:
    try:
        text = path.read_text(errors="surrogateescape")  # comments may be in any encoding
    except OSError as error:
        raise InputError(f"cannot read the PLUMED input {path}: {error}") from error
    if depth > 20:
        raise InputError(f"PLUMED input {path} includes itself")
    open_action: str | None = None
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if open_action is not None:
            if line.startswith("..."):
                yield from _included(split(open_action), folder, depth)
                open_action = None
            else:
                open_action += f" {line}"
        elif not line:
            continue
        elif line.split()[0] == "ENDPLUMED":
            return
        elif line.split()[-1] == "...":
            open_action = line.removesuffix("...")
        else:
            yield from _included(split(line), folder, depth)
    if open_action is not None:
        raise InputError(
            f"PLUMED input {path}: the action {' '.join(open_action.split()[:2])} ... does not end with '...'"
        )


def split(text: str) -> list[str]:
    """The words of an action; text in braces is not split."""
    words, depth = [""], 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if character.isspace() and depth <= 0:
            words.append("")
        else:
            words[-1] += character
    return [word for word in words if word]


def _included(words: Action, folder: Path, depth: int) -> Iterator[Action]:
    if action := action_of(words):
        yield words
    if file := _include(action):
        yield from _actions(folder / file, folder, depth + 1)


def _include(action: Action) -> str | None:
    """The file that an action includes."""
    return keyword(action, "FILE") if action[:1] == ["INCLUDE"] else None


def keyword(action: Action, name: str) -> str | None:
    """The value of `NAME=value` in an action."""
    for word in action[1:]:
        if match := re.fullmatch(rf"{name}=\{{?(.*?)\}}?", word, re.DOTALL):
            return match[1]
    return None
