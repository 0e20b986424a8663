"""The files that the actions of a PLUMED input write, as far as they or PLUMED's defaults name them."""

from collections.abc import Iterator
from pathlib import Path

from ...errors import InputError
from ..journal.disk import make_folder, why_no_folder
from .input import Action, keyword, read_actions

DEFAULT_FILES = {
    "METAD": ["HILLS"],
    "OPES_METAD": ["KERNELS"],
    "OPES_METAD_EXPLORE": ["KERNELS"],
    "OPES_EXPANDED": ["DELTAFS"],
}
"""The FILE of actions that write one without being told to."""

REWRITTEN = ("GRID_WFILE", "GRID_WFILES", "STATE_WFILE", "STATUS_FILE")
"""Keywords of files that PLUMED rewrites from time to time, so that their lengths mean nothing."""

WRITTEN = (*REWRITTEN, "FILE", "OUT_RESTART", "COEFFS_FILE", "BIAS_FILE", "FES_FILE", "TARGETDIST_FILE")
"""Keywords of files that are written."""

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
    """Creates the folders of the files that PLUMED writes: it dies silently if one is missing.

    Raises `InputError` if that is impossible.
    """
    for name, folder in _folders(actions):
        make_folder(folder, name)


def check_made_folders(actions: list[Action], run: Path) -> None:
    """`InputError` if `make_folders`, in the folder `run`, could not create what is missing."""
    for name, folder in _folders(actions):
        if not (run / folder).is_dir() and (why := why_no_folder(run / folder)):
            raise InputError(f"bias: {name} = {str(folder)!r}: {why}; name another folder")


def _folders(actions: list[Action]) -> Iterator[tuple[str, Path]]:
    """Folders in which PLUMED writes, each with what names it."""
    for action in actions:
        if shared := keyword(action, "WALKERS_DIR"):
            yield "WALKERS_DIR", Path(shared)
    for file in written_files(actions):
        yield f"folder of {file}", Path(file).parent


def _files(action: Action, name: str) -> list[str]:
    return [file for file in (keyword(action, name) or "").split(",") if file]
