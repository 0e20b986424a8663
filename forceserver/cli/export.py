"""`forceserver export`: a model as TorchScript, for engines that know metatomic."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import arguments

if TYPE_CHECKING:
    from ..cv.base import VariableConfig


class Precision(str, Enum):
    """Of the numbers of an exported model."""

    double = "float64"
    single = "float32"


def export(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A kernel model or ACE (.npz), or a configuration (.toml) with a [[cv]].",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The new file. [default: MODEL.pt]")
    ] = None,
    dtype: Annotated[Precision, typer.Option(help="Precision of an exported potential.")] = Precision.double,
    name: Annotated[
        str | None, typer.Option("--cv", metavar="NAME", help="Which [[cv]] of a configuration with several.")
    ] = None,
) -> None:
    """Export a model or a collective variable to a metatomic model (TorchScript), which needs nothing of this program.

    It runs in what reads metatomic models (LAMMPS, i-PI, ASE, GROMACS, torch-sim, PLUMED), on processors and GPUs.
    """
    from ..potentials.model_files import load_model

    path = model.with_suffix(".pt") if output is None else output
    arguments.check_ending("--output", path, ".pt")
    arguments.check_folder("--output", path)
    try:
        from ..export.metatomic import export_model
        from ..export.variable import export_variable
    except ImportError as error:
        raise InputError(f"export: {error}: pip install 'forceserver[metatomic]'") from error
    if model.suffix == ".toml":
        export_variable(_variable(model, name), path)
    else:
        export_model(load_model(model), path, dtype.value, name=model.stem)
    typer.echo(f"model: {path}", err=True)


def _variable(config: Path, name: str | None) -> "VariableConfig":
    """The [[cv]] of that name, or the only one."""
    from ..configuration import read_configuration

    sections = read_configuration(config).cv
    found = [section for section in sections if name in (None, section.name)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(section.name for section in sections)
    if not sections:
        raise InputError(f"{config}: nothing to export: it has no [[cv]]")
    raise InputError(f"{config}: choose one of its variables with --cv: {known}")
