"""`forceserver compare`: what two representations know of each other, and of the structures."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import arguments

if TYPE_CHECKING:
    from ..representation.config import ExpansionConfig


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A configuration with [expansion].", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.", show_default=False)],
    structures: arguments.Structures,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="All numbers, point by point (json).")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw errors, rigidities and singular values.")
    ] = None,
    environments: Annotated[
        int, typer.Option(min=8, help="Draw whole structures until there are so many environments.")
    ] = 2000,
    train_fraction: Annotated[float, typer.Option(min=0.01, max=0.99, help="Of the structures, for training.")] = 0.5,
    local_points: Annotated[int, typer.Option(min=4, help="Training environments of each local map (LFRE).")] = 30,
    local_tests: Annotated[int, typer.Option(min=1, help="Test environments for LFRE, at random.")] = 200,
    regulariser: Annotated[float, typer.Option(min=0.0, help="Of the rigidity, for features of unit size.")] = 1e-6,
    jacobians: Annotated[int, typer.Option(min=0, help="Environments whose Jacobian is computed.")] = 4,
    zeta_a: Annotated[int, typer.Option(min=1, max=32, help="Exponent of a kernel of A; 1 for its own features.")] = 1,
    zeta_b: Annotated[int, typer.Option(min=1, max=32, help="The same for B.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of all random choices.")] = 0,
    verbose: arguments.Verbose = False,
) -> None:
    """Compare two representations of the same atoms before any model is trained.

    GFRE: how badly a linear map of the features of one reconstructs those of the other (0: it contains them, 1: it
    knows nothing of them). GFRD: how much such a map distorts. LFRE: the error of local maps, point by point. LPR: how
    firmly the training structures hold a prediction. Jacobian: how many displacements of the atoms are noticed.

    The features are the multispectrum of section `expansion`, else its power spectrum, else its coefficients of l = 0.
    """
    from ..analysis.comparison import SIDES, Options, draw
    from ..analysis.comparison import compare as compute
    from ..files import atomic_write
    from ..representation.describing import FeatureMap
    from ..structures import read_structures
    from .logs import set_up_logging
    from .progress import progress

    set_up_logging(verbose)
    _check_paths(structures, output, plot)
    sections = {side: _section(path) for side, path in zip(SIDES, (first, second), strict=True)}
    read = list(read_structures(structures))
    maps = {side: FeatureMap(section, read, progress) for side, section in sections.items()}
    options = Options(
        environments, train_fraction, local_points, local_tests, regulariser, jacobians, seed, (zeta_a, zeta_b)
    )
    found = compute(maps, read, options, progress)
    for line in found.table():
        typer.echo(line)
    if output is not None:
        with atomic_write(output) as part:
            part.write_text(json.dumps(found.report(), indent=1) + "\n")
        typer.echo(f"numbers: {output}", err=True)
    if plot is not None:
        draw(found, plot)
        typer.echo(f"plot: {plot}", err=True)


def _section(path: Path) -> "ExpansionConfig":
    from ..configuration import read_configuration, require

    return require(read_configuration(path).expansion, "expansion", path, "it says which features are compared")


def _check_paths(structures: Path, output: Path | None, plot: Path | None) -> None:
    arguments.check_structures(structures)
    for option, path, endings in (("--output", output, (".json",)), ("--plot", plot, arguments.PICTURES)):
        if path is not None:
            arguments.check_ending(option, path, *endings)
            arguments.check_folder(option, path)
