"""`forceserver fes`: free energies from HILLS, KERNELS, STATE and COLVAR files."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..units import BOLTZMANN_EV_PER_K, PER_EV
from . import arguments


def fes(
    temperature: Annotated[
        float, typer.Option("--temperature", "-T", min=1.0, help="Temperature, in K.", show_default=False)
    ],
    bias_files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[HILLS]...", help="HILLS files of one run or of its walkers; or KERNELS or STATE of OPES."
        ),
    ] = None,
    colvar: Annotated[
        list[Path] | None,
        typer.Option("--colvar", metavar="FILE", help="COLVAR file, for reweighting; may be repeated."),
    ] = None,
    energy_unit: Annotated[str, typer.Option(help=f"Energy unit of the files: {', '.join(PER_EV)}.")] = "kJ/mol",
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Output folder.")] = Path("fes"),
    variables: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Columns of COLVAR that are the variables, if only COLVAR is given."),
    ] = None,
    project: Annotated[
        str | None, typer.Option(metavar="A,B", help="Keep these variables and integrate out the others.")
    ] = None,
    lower: Annotated[str | None, typer.Option(metavar="X,Y", help="Lower ends of the grid.")] = None,
    upper: Annotated[str | None, typer.Option(metavar="X,Y", help="Upper ends of the grid.")] = None,
    bins: Annotated[str | None, typer.Option(metavar="N,M", help="Intervals of the grid.")] = None,
    bias: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Columns of COLVAR for reweighting; LABEL.rct is subtracted. By default rbias of each label, or bias.",
        ),
    ] = None,
    skip: Annotated[
        float | None,
        typer.Option(
            metavar="PS",
            help="Discard the first ps of COLVAR. [default: as many as make the effective sample largest]",
        ),
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(min=2, help="Blocks of COLVAR for the error bars. [default: from the correlation time]"),
    ] = None,
    smooth: Annotated[
        float | None,
        typer.Option(help="Width of a COLVAR row, in grid intervals; by default 0, 0.5, 1 in 1-D, 2-D, 3-D."),
    ] = None,
    depth: Annotated[float, typer.Option(help="Required depth of a minimum, in kT.")] = 1.0,
    phase: Annotated[
        list[str] | None,
        typer.Option(metavar="'NAME: CONDITION'", help="A phase, such as 'up: p > 0 and abs(q) < 1'; may be repeated."),
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Also write the sum after every N hills or kernels: fes_hills_0.dat, ...")
    ] = None,
    negbias: Annotated[
        bool,
        typer.Option(
            "--negbias", help="Write minus the acting bias instead of the free energy of the hills or kernels."
        ),
    ] = False,
    axis_units: Annotated[
        str | None, typer.Option(metavar="A,B", help="Units of the variables, for axis labels.")
    ] = None,
    min_to_zero: Annotated[
        bool, typer.Option("--min-to-zero", help="Shift the minimum of the summed hills to zero.")
    ] = False,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Draw pictures.")] = True,
    verbose: arguments.Verbose = False,
) -> None:
    """Compute a free energy from hills or kernels and by reweighting, with minima, barriers and populations.

    The sum of hills is written in the format of `plumed sum_hills`, in the energy unit of the files.
    """
    from ..files import write_json
    from ..free_energy.bias_files import sum_bias_files
    from ..free_energy.study import as_text, study
    from .logs import set_up_logging

    set_up_logging(verbose)
    if energy_unit not in PER_EV:
        raise InputError(f"--energy-unit {energy_unit}: there are {', '.join(PER_EV)}")
    if (stride or negbias) and not bias_files:
        raise InputError(
            f"{'--stride' if stride else '--negbias'} is about a sum of hills: give HILLS or KERNELS files"
        )
    if negbias and project:
        raise InputError("--negbias --project: a bias has no projection; leave one of them out")
    if not bias_files and not colvar:
        raise InputError("give HILLS or KERNELS files, a --colvar file, or both")
    kt = BOLTZMANN_EV_PER_K * temperature * PER_EV[energy_unit]
    grid = {"lower": _numbers(lower, "--lower"), "upper": _numbers(upper, "--upper"), "bins": _numbers(bins, "--bins")}
    estimates, units = [], axis_units.split(",") if axis_units else ()
    summed = sum_bias_files(bias_files, partial(_changed, grid), kt) if bias_files else None
    if summed:
        estimates.append((summed.name, summed.estimate))
    if colvar:
        names = variables.split(",") if variables else None
        estimates.append(("reweighting", _reweight(colvar, names, summed, grid, kt, bias, skip, blocks, smooth)))
    studies = []
    for name, estimate in estimates:
        if project:
            estimate = estimate.project(project.split(","))
        if units and len(units) != len(estimate.surface.names):
            raise InputError(f"--axis-units has {len(units)} units for {len(estimate.surface.names)} variables")
        studies.append((name, study(estimate, energy_unit, depth * kt, phase or (), units)))
    output.mkdir(parents=True, exist_ok=True)

    def write(surface, name: str) -> None:
        of_bias = name != "reweighting"
        if negbias and summed and of_bias:
            surface = summed.negative_bias(surface)
        surface = surface.shifted_to_zero() if min_to_zero else surface
        surface.write(output / f"fes_{name}.dat", errors_apart=of_bias)

    reports = {}
    for name, found in studies:
        write(found.estimate.surface, name)
        reports[name] = found.report(10 * kt)
        typer.echo(as_text(reports[name]))
    if summed and stride:
        for number, surface in enumerate(summed.at_stride(stride)):
            write(surface.project(project.split(","), kt) if project else surface, f"{summed.name}_{number}")
    write_json(output / "report.json", reports)
    if picture:
        from ..free_energy.pictures import draw_convergence, draw_surface

        for name, found in studies:
            draw_surface(found, output / f"fes_{name}.png")
        draw_convergence([found for _, found in studies], 10 * kt, output / "convergence.png")
    typer.echo(f"written to {output}/")


def _reweight(colvar, names, summed, grid, kt, bias, skip, blocks, smooth):
    from ..free_energy.reweighting import blocks_of, histogram_axes, read_colvar, reweight, transient_of
    from ..free_energy.summing import MOST_VARIABLES

    data = read_colvar(colvar, skip or 0.0)
    if names is None:
        if summed is None:
            raise InputError(
                f"say which columns of {colvar[0]} are variables: --variables {','.join(data.fields[1:2])}"
            )
        names = [variable.name for variable in summed.variables]
    if len(names) > MOST_VARIABLES:
        raise InputError(f"--variables {','.join(names)}: a free energy has at most {MOST_VARIABLES} variables")
    log_weights, said = _log_weights(data, summed, bias, kt)
    if skip is None and (start := transient_of(data, names, log_weights)) > 0:
        data = read_colvar(colvar, start)
        log_weights, said = _log_weights(data, summed, bias, kt)
        said += f", without the first {start:.6g} ps (--skip)"
    axes = histogram_axes(data, names, [50] * len(names) if len(names) < 3 else [30] * 3)
    axes = _changed(grid, axes, [data.variable(name) for name in names])
    typer.echo(f"Reweighted by {said}, {len(data.rows)} rows\n")
    smooth = (0.0, 0.5, 1.0)[len(names) - 1] if smooth is None else smooth
    found = blocks or blocks_of(data, names)
    parts = found or min(10, len(data.rows))
    return reweight(data, names, axes, log_weights, kt, parts, smooth, has_errors=found > 0)


def _log_weights(data, summed, bias, kt):
    """log of the weight of each row, and what it is made of."""
    from ..free_energy.weights import columns_to_reweight_by, named_columns

    if bias:
        columns, shifts = named_columns(bias.split(","))
    else:
        columns, shifts = columns_to_reweight_by(data, summed.name if summed else None)
    log_weights = sum(data.column(name) for name in columns) / kt
    log_weights = log_weights - sum(data.column(name) for name in shifts) / kt
    said = " + ".join(columns) + "".join(f" - {name}" for name in shifts)
    if summed and not shifts and not any(name.endswith("rbias") for name in columns):
        factors = summed.reweighting_factors(data, None if bias else columns)
        if factors is not None:
            log_weights = log_weights - factors / kt
            said += " - c(t) of the hills"
    return log_weights, said


def _numbers(text: str | None, option: str) -> list[float] | None:
    from ..bias.coordinates import parse_number

    if text is None:
        return None
    try:
        return [parse_number(word) for word in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text}: {error}") from error


def _changed(grid, axes, variables):
    """The axes with the ends and intervals that the user wants."""
    from dataclasses import replace

    for key, values in grid.items():
        if values is None:
            continue
        if len(values) != len(axes):
            raise InputError(f"--{key} has {len(values)} values for {len(axes)} variables")
        for k, value in enumerate(values):
            if variables[k].domain and key != "bins":
                continue  # the grid of a periodic variable is its domain
            if key == "bins" and (value < 1 or value != int(value)):
                raise InputError(f"--bins {value:g}: an axis has a whole number of intervals, at least one")
            axes[k] = replace(axes[k], **{key: int(value) if key == "bins" else value})
    for axis, variable in zip(axes, variables, strict=True):
        if not axis.lower < axis.upper:
            raise InputError(f"the grid of {variable.name} goes from {axis.lower:g} to {axis.upper:g}: it is empty")
    return axes
