"""`forceserver init`: a first configuration and input."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Ensemble(str, Enum):
    """The ensemble of a simulation."""

    NVE = "nve"
    NVT = "nvt"
    NPT = "npt"


def init(
    structure: Annotated[
        Path,
        typer.Argument(help="Any file that ASE reads or i-PI writes; its last structure is used.", show_default=False),
    ],
    model: Annotated[
        str,
        typer.Argument(
            help="A model file (.npz from fit, .pt of metatomic, .model of MACE) or an ASE calculator "
            "such as ase.calculators.emt.EMT.",
            show_default=False,
        ),
    ],
    folder: Annotated[Path, typer.Option("--folder", "-f", help="Output folder.")] = Path(),
    ensemble: Annotated[Ensemble, typer.Option(help="Ensemble.")] = Ensemble.NVT,
    temperature: Annotated[float, typer.Option(min=0.01, metavar="KELVIN", help="Temperature.")] = 300.0,
    pressure: Annotated[float, typer.Option(metavar="GPA", help="Pressure, for npt.")] = 0.0,
    beads: Annotated[int, typer.Option(min=1, help="Beads of a path integral; 1: classical nuclei.")] = 1,
    timestep: Annotated[
        float | None,
        typer.Option(min=1e-3, metavar="FS", help="Time step.", show_default="1; with hydrogen or beads 0.5"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the simulation.")] = 10_000,
    piglet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Use PIGLET with the matrices <A> and <C> from this file (gle4md.org)."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1024, max=65534, help="TCP port on which i-PI listens.", show_default="a unix socket"),
    ] = None,
) -> None:
    """Write config.toml, input.xml and start.extxyz for a structure and a model, ready to run and to edit.

    Nothing is overwritten. Path integrals (--beads) use the PILE-G thermostat, or PIGLET with --piglet. Exit code: 0
    written, 2 an argument is wrong or a file exists already.
    """
    from ..new_simulation import Start, potential_section, read_gle, write_start
    from ..structures import read_structure

    start = Start(
        ensemble=ensemble.value,
        temperature_K=temperature,
        pressure_GPa=pressure,
        beads=beads,
        timestep_fs=timestep,
        steps=steps,
        gle=read_gle(piglet) if piglet else None,
        port=port,
    )
    paths = write_start(folder, read_structure(structure), potential_section(model, folder), start)
    typer.echo(f"written: {', '.join(map(str, paths))}")
    config = paths[1]
    typer.echo(
        f"next: forceserver check {_quoted(config)}, then forceserver launch {_quoted(config)} -n {min(beads, 2)}"
    )


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))
