"""`forceserver fes`: free energies from HILLS, KERNELS, STATE and COLVAR files."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..units import BOLTZMANN_EV_PER_K, PER_EV
from . import arguments

if TYPE_CHECKING:
    from ..free_energy.bias_files import BiasSum
    from ..free_energy.study import Study

Temperature = Annotated[
    float, typer.Option("--temperature", "-T", min=1.0, help="Temperature, in K.", show_default=False)
]
BiasFiles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[HILLS]...", help="HILLS files of one run or of its walkers; or KERNELS or STATE of OPES."),
]
ColvarFiles = Annotated[
    list[Path] | None, typer.Option("--colvar", metavar="FILE", help="COLVAR file, for reweighting; may be repeated.")
]
Unit = Annotated[
    str | None,
    typer.Option(
        help=f"Energy unit of the files: {', '.join(PER_EV)}. [default: what the files say; kJ/mol if they do not]",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Output folder.")]
Project = Annotated[str | None, typer.Option(metavar="A,B", help="Keep these variables and integrate out the others.")]
Depth = Annotated[float, typer.Option(help="Required depth of a minimum, in kT.")]
Phases = Annotated[
    list[str] | None,
    typer.Option(metavar="'NAME: CONDITION'", help="A phase, such as 'up: p > 0 and abs(q) < 1'; may be repeated."),
]

Lower = Annotated[str | None, typer.Option(metavar="X,Y", help="Lower ends of the grid.")]
Upper = Annotated[str | None, typer.Option(metavar="X,Y", help="Upper ends of the grid.")]
Bins = Annotated[str | None, typer.Option(metavar="N,M", help="Intervals of the grid.")]

Variables = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Columns of COLVAR that are the variables, if only COLVAR is given."),
]
Bias = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Columns of COLVAR for reweighting; LABEL.rct is subtracted. By default rbias of each label, or bias.",
    ),
]
Skip = Annotated[
    float | None,
    typer.Option(
        metavar="PS", help="Discard the first ps of COLVAR. [default: as many as make the effective sample largest]"
    ),
]
Blocks = Annotated[
    int | None,
    typer.Option(min=2, help="Blocks of COLVAR for the error bars. [default: from the correlation time]"),
]
Smooth = Annotated[
    float | None,
    typer.Option(help="Width of a COLVAR row, in grid intervals; by default 0, 0.5, 1 in 1-D, 2-D, 3-D."),
]

Stride = Annotated[
    int | None,
    typer.Option(min=1, help="Also write the sum after every N hills or kernels: fes_hills_0.dat, ..."),
]
Negbias = Annotated[
    bool,
    typer.Option("--negbias", help="Write minus the acting bias instead of the free energy of the hills or kernels."),
]
AxisUnits = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Units of the variables, for axis labels."),
]
MinToZero = Annotated[
    bool,
    typer.Option("--min-to-zero", help="Shift the minimum of the summed hills to zero."),
]
Picture = Annotated[bool, typer.Option("--picture/--no-picture", help="Draw pictures.")]


def fes(
    temperature: Temperature,
    bias_files: BiasFiles = None,
    colvar: ColvarFiles = None,
    energy_unit: Unit = None,
    output: Output = Path("fes"),
    variables: Variables = None,
    project: Project = None,
    lower: Lower = None,
    upper: Upper = None,
    bins: Bins = None,
    bias: Bias = None,
    skip: Skip = None,
    blocks: Blocks = None,
    smooth: Smooth = None,
    depth: Depth = 1.0,
    phase: Phases = None,
    stride: Stride = None,
    negbias: Negbias = False,
    axis_units: AxisUnits = None,
    min_to_zero: MinToZero = False,
    picture: Picture = True,
    verbose: arguments.Verbose = False,
) -> None:
    """Compute a free energy from hills or kernels and by reweighting, with minima, barriers and populations.

    The sum of hills is written in the format of `plumed sum_hills`, in the energy unit of the files.
    """
    from ..free_energy.bias_files import sum_bias_files
    from ..free_energy.file_units import unit_of
    from ..free_energy.from_colvar import ColvarRequest, estimate_from_colvar
    from ..free_energy.study import study
    from ..free_energy.wanted_grid import WantedGrid
    from .logs import set_up_logging

    set_up_logging(verbose)
    _check(energy_unit, bias_files, colvar, project, stride, negbias)
    _check_numbers({"--temperature": temperature, "--skip": skip, "--smooth": smooth, "--depth": depth})
    unit = unit_of([*(bias_files or ()), *(colvar or ())], energy_unit, temperature)
    kt = BOLTZMANN_EV_PER_K * temperature * PER_EV[unit]
    grid = WantedGrid(_numbers(lower, "--lower"), _numbers(upper, "--upper"), _numbers(bins, "--bins"))
    kept, units = _words(project), _words(axis_units)
    summed = sum_bias_files(bias_files, grid.applied, kt) if bias_files else None
    estimates = {summed.name: summed.estimate} if summed else {}
    if colvar:
        request = ColvarRequest(colvar, _words(variables), _words(bias), skip, blocks, smooth)
        estimates["reweighting"], by = estimate_from_colvar(request, summed, kt, grid.applied)
        typer.echo(f"Reweighted by {by}\n")
    studies = {}
    for name, estimate in estimates.items():
        estimate = estimate.project(kept) if kept else estimate
        if units and len(units) != len(estimate.surface.names):
            raise InputError(f"--axis-units has {len(units)} units for {len(estimate.surface.names)} variables")
        studies[name] = study(estimate, unit, depth * kt, phase or (), units or ())
    output.mkdir(parents=True, exist_ok=True)
    _write_surfaces(output, studies, summed, kept, kt, stride, negbias, min_to_zero)
    _report(output, studies, kt, picture)


def _check(
    energy_unit: str | None,
    bias_files: list[Path] | None,
    colvar: list[Path] | None,
    project: str | None,
    stride: int | None,
    negbias: bool,
) -> None:
    """`InputError` for what contradicts itself."""
    if energy_unit is not None and energy_unit not in PER_EV:
        raise InputError(f"--energy-unit {energy_unit}: there are {', '.join(PER_EV)}")
    if (stride or negbias) and not bias_files:
        raise InputError(
            f"{'--stride' if stride else '--negbias'} is about a sum of hills: give HILLS or KERNELS files"
        )
    if negbias and project:
        raise InputError("--negbias --project: a bias has no projection; leave one of them out")
    if not bias_files and not colvar:
        raise InputError("give HILLS or KERNELS files, a --colvar file, or both")


def _check_numbers(options: dict[str, float | None]) -> None:
    """`InputError` for a number that means nothing."""
    for option, value in options.items():
        if value is not None and not 0 <= value < math.inf:
            raise InputError(f"{option} {value:g}: give a number of zero or more")


def _write_surfaces(
    output: Path,
    studies: "dict[str, Study]",
    summed: "BiasSum | None",
    kept: list[str] | None,
    kt: float,
    stride: int | None,
    negbias: bool,
    min_to_zero: bool,
) -> None:
    """The free energies on their grids, and those after every `stride` hills or kernels."""
    surfaces = {name: found.estimate.surface for name, found in studies.items()}
    if summed and stride:
        for number, surface in enumerate(summed.at_stride(stride)):
            surfaces[f"{summed.name}_{number}"] = surface.project(kept, kt) if kept else surface
    for name, surface in surfaces.items():
        is_sum = name != "reweighting"
        if negbias and summed and is_sum:
            surface = summed.negative_bias(surface)
        surface = surface.shifted_to_zero() if min_to_zero else surface
        surface.write(output / f"fes_{name}.dat", errors_apart=is_sum)


def _report(output: Path, studies: "dict[str, Study]", kt: float, picture: bool) -> None:
    """Minima, barriers and populations: on the terminal, as JSON and as pictures."""
    from ..files import write_json
    from ..free_energy.study import as_text

    reports = {name: found.report(10 * kt) for name, found in studies.items()}
    for report in reports.values():
        typer.echo(as_text(report))
    write_json(output / "report.json", reports)
    if picture:
        from ..free_energy.pictures import draw_convergence, draw_surface

        for name, found in studies.items():
            draw_surface(found, output / f"fes_{name}.png")
        draw_convergence(list(studies.values()), 10 * kt, output / "convergence.png")
    typer.echo(f"written to {output}/")


def _words(text: str | None) -> list[str] | None:
    return text.split(",") if text else None


def _numbers(text: str | None, option: str) -> list[float] | None:
    from ..bias.coordinates import parse_number

    if text is None:
        return None
    try:
        return [parse_number(word) for word in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text}: {error}") from error
