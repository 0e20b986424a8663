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


FORGETFUL = {
    "EXTENDED_LAGRANGIAN": "the fictitious particle",
    "ABMD": "the closest approach so far",
    "EDS": "the averages of its period",
    "MAXENT": "its multipliers",
    "VES_LINEAR_EXPANSION": "the averages of its optimiser",
    "VES_DELTA_F": "its coefficients",
}
"""Actions of which PLUMED starts anew what no file holds, measured by restarts in the middle of a run."""

READ_AT_RESTART = ("GRID_RFILE", "STATE_RFILE")
"""Keywords by which PLUMED restarts from a file that it rewrites from time to time, and not from that of its hills."""

NEED_CHARGES = ("DIPOLE", "DHENERGY")
WRITING = ("METAD", "PBMETAD", "OPES_METAD", "OPES_METAD_EXPLORE", "OPES_EXPANDED", "PRINT", "DUMPATOMS", "DUMPGRID")


def check_actions(actions: list[Action], path: Path, has_charges: bool) -> None:
    """`InputError` for what PLUMED accepts and cannot do behind a bias, where it would give wrong numbers or hang."""
    has_extra_cv = any(action[0] == "EXTRACV" for action in actions)
    for action in actions:
        if has_extra_cv and keyword(action, "ADAPTIVE") == "GEOM":
            raise InputError(
                f"{path}: {action[0]} ADAPTIVE=GEOM needs derivatives by atoms, which no EXTRACV has; give SIGMA"
            )
        for name in READ_AT_RESTART:
            if keyword(action, name):
                raise InputError(
                    f"{path}: {action[0]} {name} takes a restart to the last time that this file was written, which "
                    "is not the last step; leave it out: PLUMED then restarts from FILE (a bias that is fixed is "
                    "read by EXTERNAL)"
                )
        if action[0] in NEED_CHARGES and not has_charges:
            raise InputError(f"{path}: {action[0]} needs charges, which are all zero; give charges_e of [bias]")


def forgotten(actions: list[Action]) -> list[str]:
    """What a restart of PLUMED begins anew, so that the bias is another one than before."""
    found = [f"{action[0]} ({FORGETFUL[action[0]]})" for action in actions if action[0] in FORGETFUL]
    found += ["ADAPTIVE=DIFF (the spread)" for action in actions if keyword(action, "ADAPTIVE") == "DIFF"]
    is_opes = (action for action in actions if action[0] in ("OPES_METAD", "OPES_METAD_EXPLORE"))
    found += [f"{action[0]} without SIGMA (the spread)" for action in is_opes if _is_adaptive(action)]
    return found


def _is_adaptive(opes: Action) -> bool:
    return (keyword(opes, "SIGMA") or "ADAPTIVE").upper() == "ADAPTIVE"


def make_folders(actions: list[Action]) -> None:
    """Makes the folders of the files that PLUMED writes: it dies of a missing WALKERS_DIR without a word."""
    for action in actions:
        if folder := keyword(action, "WALKERS_DIR"):
            Path(folder).mkdir(parents=True, exist_ok=True)
        if action[0] in WRITING:
            for file in (keyword(action, "FILE") or "").split(","):
                Path(file).parent.mkdir(parents=True, exist_ok=True)
