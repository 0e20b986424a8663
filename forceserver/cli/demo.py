"""`forceserver demo`: a complete study in a few minutes, from a potential to a free energy, in a folder of its own."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError


class Engine(str, Enum):
    """The engine that computes the bias."""

    AUTO = "auto"
    PLUMED = "plumed"
    METADYNAMICS = "metadynamics"


def demo(
    name: Annotated[str, typer.Argument(help="Name of the demo: batio3.", show_default=False)],
    folder: Annotated[
        Path, typer.Option("--folder", "-f", metavar="FOLDER", help="Inputs and results go to FOLDER/NAME.")
    ] = Path("demo"),
    engine: Annotated[
        Engine, typer.Option(help="Engine of the bias; auto: PLUMED if its kernel is found, else metadynamics.")
    ] = Engine.AUTO,
    picoseconds: Annotated[
        float | None, typer.Option("--ps", min=0.5, help="Length of each simulation.  [default: 40]")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Start afresh; removes the results of an earlier run.")
    ] = False,
) -> None:
    """Run a demonstration: set up its inputs, simulate, and show the result.

    batio3: the free energy of the polarization of BaTiO3 (40 atoms) below and above its ordering temperature, by
    metadynamics in two i-PI simulations side by side, with a potential that was fitted to density functional theory.

    The same command resumes a run that was interrupted or killed. Complete results are shown again; --force replaces
    them.
    """
    if name != "batio3":
        raise InputError(f"there is no demo {name!r}; there is batio3")
    from ..demo import batio3

    place = folder / name
    batio3.check_machine(folder)
    if force:
        batio3.remove(place)
    if not (place / batio3.RECORD).exists():
        batio3.make(place, _available(engine), picoseconds)
    with batio3.open_demo(place) as study:
        if study.complete:
            typer.echo(f"{place} is complete; --force repeats it, --folder makes another one")
        else:
            typer.echo(f"inputs and results: {place}; bias by {study.engine}")
            if code := study.simulate():
                typer.echo("the same command resumes it; --force starts afresh", err=True)
                raise typer.Exit(code)
            study.evaluate()
        typer.echo((place / "result.txt").read_text())
        typer.echo(f"picture: {place / 'batio3.png'}   text: {place / 'result.txt'}   numbers: {place / 'result.json'}")


def _available(wanted: Engine) -> str:
    """The engine that will be used; `InputError` if PLUMED is requested but not available."""
    if wanted is Engine.METADYNAMICS:
        return wanted.value
    from ..bias.plumed.kernel import load_kernel

    try:
        load_kernel()
    except InputError:
        if wanted is Engine.PLUMED:
            raise
        return Engine.METADYNAMICS.value
    return Engine.PLUMED.value
