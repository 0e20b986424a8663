"""Arguments that several commands share, and the checks of files that they name."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration, a TOML file.", show_default=False)]
Structures = Annotated[
    Path, typer.Argument(metavar="STRUCTURES", help="Structures in any format that ASE reads.", show_default=False)
]
PICTURES = (".png", ".pdf", ".svg")
"""How the names of pictures may end."""
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log details.")]


def check_structures(path: Path) -> None:
    """`InputError` if there is no such file."""
    if not path.is_file():
        raise InputError(f"structures: there is no file {path}")


def check_ending(option: str, path: Path, *endings: str) -> None:
    """`InputError` if the name of a file has none of these endings."""
    if path.suffix not in endings:
        raise InputError(f"{option} {path}: the name must end in {' or '.join(endings)}")


def check_folder(option: str, path: Path) -> None:
    """`InputError` if there is no folder for a file that is to be written."""
    if not (folder := path.absolute().parent).is_dir():
        raise InputError(f"{option} {path}: there is no folder {folder}")
