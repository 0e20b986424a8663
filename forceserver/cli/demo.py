"""`forceserver demo`: a complete study that runs in a minute, in a folder of its own."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError


def demo(
    name: Annotated[str, typer.Argument(help="Which one: silicon.", show_default=False)],
    folder: Annotated[
        Path, typer.Option("--folder", "-f", metavar="FOLDER", help="A new folder in it holds inputs and results.")
    ] = Path("demo"),
) -> None:
    """Run a demonstration: copy its inputs, simulate, and draw a picture.

    silicon: 64 atoms of silicon at 300 K, i-PI with a driver that serves the Stillinger-Weber potential of LAMMPS.
    """
    if name not in DEMOS:
        raise InputError(f"there is no demo {name!r}; there are {', '.join(DEMOS)}")
    place = _new_folder(folder / name)
    shutil.copytree(_workflow("stillinger_weber"), place)
    typer.echo(f"inputs and results: {place}")
    raise typer.Exit(DEMOS[name](place))


def _workflow(name: str) -> Path:
    """The folder of a study: beside the package in the repository, inside it when installed."""
    package = Path(__file__).parents[1]
    for place in (package / "workflows", package.parent / "workflows"):
        if (place / name).is_dir():
            return place / name
    raise InputError(f"the files of the demo {name!r} are not installed")


def _new_folder(wanted: Path) -> Path:
    """`wanted`, or with a number behind it if that is there already: nothing is overwritten."""
    place, number = wanted, 1
    while place.exists():
        number += 1
        place = wanted.with_name(f"{wanted.name}-{number}")
    return place


def _silicon(place: Path) -> int:
    from ..analysis.run_plot import plot_run
    from .launch import run_simulation

    code = run_simulation(place / "forceserver.toml", drivers=1, threads=1)
    if code != 0:
        return code
    picture = place / "silicon.png"
    title = "Silicon, 64 atoms, Stillinger-Weber, served to i-PI"
    summary = plot_run(place / "silicon.out", picture, atoms=64, kelvin=300.0, title=title)
    typer.echo(
        f"{summary.picoseconds:g} ps at 300 K: {summary.temperature_kelvin:.0f} ± "
        f"{summary.temperature_error_kelvin:.0f} K in the second half, the conserved quantity drifts by "
        f"{summary.drift_mev_per_atom_ps:+.3f} meV per atom and ps; picture: {picture}"
    )
    return 0


DEMOS: dict[str, Callable[[Path], int]] = {"silicon": _silicon}
