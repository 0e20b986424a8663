"""`forceserver cv`: collective variables that are fitted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import InputError
from . import arguments

if TYPE_CHECKING:
    from ..cv.linear_functions import LinearFunctions
    from ..cv.power_spectrum import PowerSpectrumConfig

app = typer.Typer(no_args_is_help=True, help="Collective variables that are learned from structures.")


@app.callback()
def _commands() -> None:
    """Collective variables that are learned from structures."""


@app.command()
def fit(
    config: arguments.Config,
    structures: arguments.Structures,
    method: Annotated[
        Literal["pca", "lda", "ridge"],
        typer.Option("--method", help="Principal components, linear discriminants, or a ridge regression."),
    ],
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            metavar="NAME",
            help="What lda tells apart and ridge predicts: a value of each structure, or a column of its atoms.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--cv", metavar="NAME", help="Which [[cv]], if several have this kind.")
    ] = None,
    components: Annotated[
        int | None, typer.Option("--components", metavar="N", help="How many components or discriminants.")
    ] = None,
    verbose: arguments.Verbose = False,
) -> None:
    """Fit the weights of a `cv` of kind "power_spectrum" to structures, and write the file that its key weights names.

    By default, pca makes two outputs pc1 and pc2, and lda one less than there are classes, ld1 and so on, of which ld1
    separates best. ridge makes one that has the name of the label.
    """
    from ..configuration import read_configuration
    from ..cv.fitting import fit_variable
    from ..structures import read_structures
    from .logs import set_up_logging

    set_up_logging(verbose)
    section = _section(read_configuration(config).cv, name, config)
    arguments.check_structures(structures)
    arguments.check_ending(f"{config}: cv {section.name}: weights =", section.weights, ".npz")
    arguments.check_folder("cannot write", section.weights)
    read = list(read_structures(structures))
    functions = fit_variable(section, read, method, label=label, components=components)
    functions.save(section.weights)
    for line in table(functions):
        typer.echo(line)
    typer.echo(f"weights: {section.weights}", err=True)


def table(functions: "LinearFunctions") -> list[str]:
    """What is known of the quality of a fit."""
    summary = functions.summary
    lines = [f"{summary['samples']} samples of {summary['structures']} structures: {', '.join(functions.names)}"]
    if summary["method"] == "pca":
        for function, part in zip(functions.names, summary["explained_variance"], strict=True):
            lines.append(f"{function}: {part:.1%} of the variance")
    elif summary["method"] == "lda":
        width = max(len(c) for c in summary["classes"])
        for c, means, spread in zip(summary["classes"], summary["means"], summary["standard_deviations"], strict=True):
            values = "  ".join(f"{mean:8.3f} +- {s:.3f}" for mean, s in zip(means, spread, strict=True))
            lines.append(f"{c:{width}s}  {values}")
        if summary["accuracy"] is not None:
            lines.append(f"environments of structures that were left out: {summary['accuracy']:.1%} in the right class")
    else:
        lines.append(f"error: {summary['rmse']:.4g} (of a label that varies by {summary['standard_deviation']:.4g})")
        if summary["rmse_left_out"] is not None:
            lines.append(f"error of samples that were left out: {summary['rmse_left_out']:.4g}")
    return lines


def _section(sections, name: str | None, config: Path) -> "PowerSpectrumConfig":
    found = [section for section in sections if section.kind == "power_spectrum" and name in (None, section.name)]
    if len(found) == 1:
        return found[0]
    known = [section.name for section in sections if section.kind == "power_spectrum"]
    if not known:
        raise InputError(f'{config}: nothing to fit: give a [[cv]] with kind = "power_spectrum"')
    if not found:
        raise InputError(f'--cv {name}: {config} has no [[cv]] of that name and of kind "power_spectrum", only {known}')
    raise InputError(f"{config}: several [[cv]] can be fitted, {', '.join(known)}: choose one with --cv")
