"""A PLUMED input for a trial in another folder: it reads what it would read, and writes nothing outside that folder.

PLUMED renames a file that it is to write and finds, so a trial of an input with FILE=/absolute/HILLS would take the
hills away from the simulation.
"""

import os
import shutil
from pathlib import Path

from .input import Action, action_of, included_files, named_files, read_input
from .written_files import READERS, WRITTEN, walkers, written_files

OUTSIDE = "outside"
"""The folder for what would be written outside the folder of the trial."""


def bring(path: Path, folder: Path, trial: Path) -> Path:
    """Brings an input that would run in `folder`, and the files that it names, to the folder `trial`.

    Returns the input to run there: the same file, or one in `trial` if names in it had to be changed.
    Errors as for `read_actions`.
    """
    for name in named_files(path, folder):
        if not _is_outside(name):
            _copy(folder / name, trial / name)
    lines = read_input(path, folder)
    moved = [[_moved(action_of(words)[0], word, folder) for word in words] for words in lines]
    for name, there in zip(_files(lines), _files(moved), strict=True):
        if (folder / name).is_file():
            _copy(folder / name, trial / there)
        elif (folder / name).parent.is_dir():
            (trial / there).parent.mkdir(parents=True, exist_ok=True)
    if moved == lines and not any(_is_there_above(name, folder) for name in included_files(path, folder)):
        return path
    changed = trial / path.name
    changed.write_text("".join(" ".join(words) + "\n" for words in moved), errors="surrogateescape")
    return changed


def _files(lines: list[Action]) -> list[str]:
    """The files that are written, and those of other walkers, which are read at a restart."""
    actions = [action_of(words) for words in lines]
    _, others = walkers(actions) or (None, [])
    return [*written_files(actions), *map(str, others)]


def _moved(action: str, word: str, folder: Path) -> str:
    """A word of an action as it is to be in the trial."""
    name, _, value = word.partition("=")
    files = value.strip("{}").split(",")
    if name == "WALKERS_DIR" or (name in WRITTEN and not (name == "FILE" and action in READERS)):
        moved = [_inside(file) for file in files]
    else:
        moved = [os.path.abspath(folder / file) if _is_there_above(file, folder) else file for file in files]
    return word if moved == files else f"{name}={{{','.join(moved)}}}"


def _inside(file: str) -> str:
    """Where a file that is written is in the trial; what is no file, such as /dev/null, stays."""
    if not _is_outside(file) or Path(file).is_char_device():
        return file
    return str(Path(OUTSIDE, *(part for part in Path(file).parts if part not in ("/", ".."))))


def _is_outside(file: str) -> bool:
    return file.startswith("/") or ".." in Path(file).parts


def _is_there_above(file: str, folder: Path) -> bool:
    return ".." in Path(file).parts and (folder / file).exists()


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if not (to.exists() and to.samefile(file)):
        shutil.copyfile(file, to)
