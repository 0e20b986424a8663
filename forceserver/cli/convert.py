"""`forceserver convert`: a model of another program as one file of this one."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from . import arguments


def convert(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model of another program, or of `fit`.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The new file. [default: MODEL.npz]")
    ] = None,
) -> None:
    """Convert a model of another program to one npz file, with checksum, that needs no other file beside it."""
    from ..potentials.model_files import load_model

    path = model.with_suffix(".npz") if output is None else output
    arguments.check_ending("--output", path, ".npz")
    arguments.check_folder("--output", path)
    if path.absolute() == model.absolute():
        raise InputError(f"--output {path}: is the model itself; give another name")
    load_model(model).save(path)
    typer.echo(f"model: {path}", err=True)
