"""`forceserver convert`: a model of another program as one file of this one."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError


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
    _check(model, path)
    load_model(model).save(path)
    typer.echo(f"model: {path}", err=True)


def _check(model: Path, output: Path) -> None:
    if output.suffix != ".npz":
        raise InputError(f"--output {output}: the name must end in .npz")
    if not output.absolute().parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {output.absolute().parent}")
    if output.absolute() == model.absolute():
        raise InputError(f"--output {output}: is the model itself; give another name")
