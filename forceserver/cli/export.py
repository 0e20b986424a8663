"""`forceserver export`: a model as TorchScript, for engines that know metatomic."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError


class Precision(str, Enum):
    """Of the numbers of an exported model."""

    double = "float64"
    single = "float32"


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A kernel model or ACE (.npz).", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The new file. [default: MODEL.pt]")
    ] = None,
    dtype: Annotated[Precision, typer.Option(help="Precision of the exported model.")] = Precision.double,
) -> None:
    """Export a model to a metatomic model (TorchScript), which needs nothing of this program.

    It runs in what reads metatomic models (LAMMPS, i-PI, ASE, GROMACS, torch-sim, PLUMED), on processors and GPUs.
    """
    from ..potentials.model_files import load_model

    path = model.with_suffix(".pt") if output is None else output
    if path.suffix != ".pt":
        raise InputError(f"--output {path}: the name must end in .pt")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--output {path}: there is no folder {path.absolute().parent}")
    try:
        from ..export.metatomic import export_model
    except ImportError as error:
        raise InputError(f"export: {error}: pip install 'forceserver[metatomic]'") from error
    export_model(load_model(model), path, dtype.value, name=model.stem)
    typer.echo(f"model: {path}", err=True)
