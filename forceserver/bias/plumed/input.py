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


FORGETFUL = {
    "EXTENDED_LAGRANGIAN": "the fictitious particle",
    "ABMD": "the closest approach so far",
    "EDS": "the averages of its period",
    "FISST": "the averages of its period",
    "MAXENT": "its multipliers",
    "VES_LINEAR_EXPANSION": "the averages of its optimiser",
    "VES_DELTA_F": "its coefficients",
}
"""Actions with a state that no file holds and a restart loses, found by restarts in the middle of runs."""

GROWING = ("METAD", "PBMETAD", "OPES_METAD", "OPES_METAD_EXPLORE", "OPES_EXPANDED", "MOVINGRESTRAINT")
"""Actions whose bias changes with time, in addition to those of FORGETFUL."""

ADDED_UP = {
    "ACCELERATION": "the acceleration factor",
    "CALC_WORK": "the work so far",
}
"""Flags of actions that add something up for COLVAR, from the start of PLUMED on; their bias is restarted exactly."""

AVERAGES = ("ACCUMULATE", "AVERAGE", "COLLECT_FRAMES", "HISTOGRAM", "MULTICOLVARDENS")
"""Actions that average over what PLUMED has seen since it was started."""

DEFAULT_FILES = {
    "METAD": ["HILLS"],
    "OPES_METAD": ["KERNELS"],
    "OPES_METAD_EXPLORE": ["KERNELS"],
    "OPES_EXPANDED": ["DELTAFS"],
}
"""The FILE of actions that write one without being told to."""

READ_AT_RESTART = ("GRID_RFILE", "GRID_RFILES", "STATE_RFILE", "DRR_RFILE")
"""Keywords that make PLUMED restart from a file that it rewrites from time to time, not from its hills."""

NEED_CHARGES = ("DIPOLE", "DHENERGY")
NEED_A_BOX = ("VOLUME", "CELL")

REWRITTEN = ("GRID_WFILE", "GRID_WFILES", "STATE_WFILE", "STATUS_FILE")
"""Keywords of files that PLUMED rewrites from time to time, so that their lengths mean nothing."""

WRITTEN = (*REWRITTEN, "FILE", "OUT_RESTART", "COEFFS_FILE", "BIAS_FILE", "FES_FILE", "TARGETDIST_FILE")
READERS = (
    "CALIBER",
    "CONSTANT",
    "ECV_UMBRELLAS_FILE",
    "EXTERNAL",
    "FUNNEL",
    "LOAD",
    "PLUMED",
    "PYTORCH_MODEL",
    "READ",
    "READMASSCHARGE",
    "REFERENCE_GRID",
    "TD_GRID",
)
"""Actions whose FILE is read."""


def check_actions(actions: list[Action], path: Path, has_charges: bool, is_periodic: bool) -> None:
    """`InputError` for input that PLUMED accepts but that makes it give wrong numbers, or hang, behind a bias."""
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
        if (action[0] in GROWING and keyword(action, "RESTART") == "NO") or action[:2] == ["RESTART", "NO"]:
            told = "RESTART NO" if action[0] == "RESTART" else f"{action[0]} RESTART=NO"
            raise InputError(
                f"{path}: {told} begins a new bias whenever this program is started again; leave "
                "it out (to begin a new bias, move the files of the old one away)"
            )
        if "WALKERS_MPI" in action:
            raise InputError(
                f"{path}: {action[0]} WALKERS_MPI needs walkers that are ranks of one MPI program, and here each is a "
                "program of its own; METAD and PBMETAD share hills by files (WALKERS_N, WALKERS_ID, WALKERS_DIR)"
            )
        if action[0] in NEED_CHARGES and not has_charges:
            raise InputError(f"{path}: {action[0]} needs charges, which are all zero; give charges_e of [bias]")
        if action[0] in NEED_A_BOX and not is_periodic:
            raise InputError(f"{path}: {action[0]} needs a cell, and nothing is periodic; see [structure] pbc")
    files = [Path(file).resolve() for file in written_files(actions)]
    if twice := [file for file in files if files.count(file) > 1]:
        raise InputError(
            f"{path}: {files.count(twice[0])} actions write to {twice[0].name}: PLUMED would rename the file of the "
            "first, and read that of the last for both at a restart; give each a FILE of its own"
        )


def forgotten(actions: list[Action]) -> list[str]:
    """What a restart of PLUMED loses, so that the bias is not the same as before."""
    found = [f"{action[0]} ({FORGETFUL[action[0]]})" for action in actions if action[0] in FORGETFUL]
    found += ["ADAPTIVE=DIFF (the spread)" for action in actions if keyword(action, "ADAPTIVE") == "DIFF"]
    is_opes = (action for action in actions if action[0] in ("OPES_METAD", "OPES_METAD_EXPLORE"))
    found += [f"{action[0]} without SIGMA (the spread)" for action in is_opes if _is_adaptive(action)]
    found += ["FREQUENCY_ADAPTIVE (the pace)" for action in actions if "FREQUENCY_ADAPTIVE" in action]
    found += [f"{action[0]} {flag} ({what})" for action in actions for flag, what in ADDED_UP.items() if flag in action]
    found += [f"{action[0]} (what it has averaged)" for action in actions if action[0] in AVERAGES]
    if any(action[0] == "PRINT" and re.search(r"work|\*", keyword(action, "ARG") or "") for action in actions):
        found += ["MOVINGRESTRAINT (the work so far)" for action in actions if action[0] == "MOVINGRESTRAINT"]
    found += [
        "OPES_EXPANDED without PRINT_STRIDE=1 (what it has learned since the last line of DELTAFS)"
        for action in actions
        if action[0] == "OPES_EXPANDED" and keyword(action, "PRINT_STRIDE") != "1"
    ]
    return found


def _is_adaptive(opes: Action) -> bool:
    return (keyword(opes, "SIGMA") or "ADAPTIVE").upper() == "ADAPTIVE"


TIME_UNITS_PS = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "atomic": 2.418884326509e-5}


def time_unit_ps(actions: list[Action]) -> float:
    """The unit of times in PLUMED's files: that of UNITS, a name or a number of ps."""
    given = next((keyword(action, "TIME") for action in actions if action[0] == "UNITS"), None) or "ps"
    try:
        return TIME_UNITS_PS.get(given) or float(given)
    except ValueError:
        return 1.0  # PLUMED will say so


def written_in_updates(actions: list[Action]) -> list[str]:
    """Names of the actions that only write files."""
    return sorted({action[0] for action in actions if action[0] == "PRINT" or action[0].startswith("DUMP")})


def depend_on_time(actions: list[Action]) -> bool:
    """Whether the bias is another one after some steps."""
    return any(action[0] in GROWING or action[0] in FORGETFUL for action in actions)


def rewritten_files(actions: list[Action]) -> set[Path]:
    """The files that PLUMED rewrites, not those to which it appends."""
    appending = {"STORE_GRIDS", "STORE_STATES"}
    return {
        Path(file).resolve()
        for action in actions
        if not appending & set(action)
        for name in REWRITTEN
        for file in _files(action, name)
    }


def written_files(actions: list[Action]) -> list[str]:
    """The files that the actions write, as far as the input or PLUMED's defaults name them; a name for each action."""
    found = []
    for action in actions:
        found += [file for name in WRITTEN if name != "FILE" for file in _files(action, name)]
        if action[0] in READERS:
            continue
        files = _files(action, "FILE") or DEFAULT_FILES.get(action[0], [])
        if walker := keyword(action, "WALKERS_ID"):
            folder = Path(keyword(action, "WALKERS_DIR") or "")
            files = [str(folder / f"{file}.{walker}") for file in files]
        found += files
    return found


def walkers(actions: list[Action]) -> tuple[Path, list[Path]] | None:
    """The hills of this walker and of those that share its folder; None if there are none, or PLUMED refuses them."""
    for action in actions:
        count, own = keyword(action, "WALKERS_N") or "", keyword(action, "WALKERS_ID") or "0"
        if count.isdigit() and own.isdigit() and int(own) < int(count):
            name = (_files(action, "FILE") or DEFAULT_FILES.get(action[0], [""]))[0]
            folder = Path(keyword(action, "WALKERS_DIR") or "")
            files = [folder / f"{name}.{k}" for k in range(int(count))]
            return files.pop(int(own)), files
    return None


def check_folders(path: Path, folder: Path) -> None:
    """`InputError` if a folder of the files that PLUMED writes, where it runs in `folder`, is missing."""
    for name in written_files(read_actions(path, folder)):
        if not (place := (folder / name).parent).is_dir():
            raise InputError(f"{path} writes {name}: there is no folder {place}; create it (PLUMED would die silently)")


def make_folders(actions: list[Action]) -> None:
    """Creates the folders of the files that PLUMED writes: it dies silently if one is missing."""
    shared = [Path(name) for action in actions if (name := keyword(action, "WALKERS_DIR"))]
    for folder in [*shared, *(Path(file).parent for file in written_files(actions))]:
        folder.mkdir(parents=True, exist_ok=True)


def _files(action: Action, name: str) -> list[str]:
    return [file for file in (keyword(action, name) or "").split(",") if file]
