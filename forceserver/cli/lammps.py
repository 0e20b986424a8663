"""`forceserver lammps`: the pair style, as a plugin of LAMMPS, and the tables that it reads."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The pair style forceserver, for LAMMPS with MPI.")


@app.command()
def build(
    output: Annotated[Path, typer.Option("-o", "--output", help="The plugin to write.", dir_okay=False)] = Path(
        "forceserverplugin.so"
    ),
    include: Annotated[
        Path | None, typer.Option(help="The headers of LAMMPS, or its source tree. [default: those installed]")
    ] = None,
    compiler: Annotated[str | None, typer.Option(help="The C++ compiler. [default: mpicxx]")] = None,
    march: Annotated[
        str, typer.Option(help="The processor to compile for, such as x86-64-v3, as for -march of the compiler.")
    ] = "native",
) -> None:
    """Compile the pair style for the installed LAMMPS and print the path of the plugin, for `plugin load`.

    The plugin works with the version of LAMMPS that it was built for, and on processors that have the instructions of
    this one (or of --march).
    """
    from ..lammps.build import build_plugin

    library, version = build_plugin(output, include, compiler, march)
    typer.echo(f"for LAMMPS {version}", err=True)
    typer.echo(library)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A model: .npz, .json of librascal, .xml of QUIP.", dir_okay=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write. [default: the model itself]")
    ] = None,
) -> None:
    """Add to a model file what the pair style reads, and print its path, for `pair_coeff * * FILE ...`.

    The file remains the model that it was, for all commands. A model that is fitted again must be exported again;
    LAMMPS stops if it was not.
    """
    from ..errors import InputError
    from ..lammps.tables import export as write

    if output is None and model.suffix != ".npz":
        raise InputError(f"{model} is no .npz: name the file to write with --output")
    target = output or model
    write(model, target)
    typer.echo(target)
