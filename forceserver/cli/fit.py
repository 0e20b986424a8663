"""`forceserver fit`: trains a model."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from . import arguments
from .parity import print_errors, print_limits
from .progress import progress


def fit(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The configuration of the fit, a TOML file.", show_default=False)
    ],
    verbose: arguments.Verbose = False,
) -> None:
    """Train a sparse kernel model (GAP) or a cluster expansion (ACE) on energies, forces and virials.

    Writes the model and prints the errors by group. If the configuration names a report folder, also writes parity
    plots and the learning curve there. To resume an interrupted fit, repeat the command.
    """
    from ..fit import report
    from ..fit.config import load
    from ..fit.run import fit as run
    from .info import uncertainty
    from .logs import set_up_logging

    set_up_logging(verbose)
    configuration = load(config)
    result = run(configuration, progress)
    sets = {"train": result.train} | ({"test": result.test} if result.test else {})
    tables = {
        name: report.compare(result.model, data, progress, f"errors ({name})", uncertainty=name == "test")
        for name, data in sets.items()
    }
    for name, table in tables.items():
        print_errors(table, f"{name}: root-mean-square errors")
        for told in report.outliers(table, sets[name]):
            print(f"{name}: {told}")
    print(uncertainty(result.model))
    print_limits(result.limits)
    if configuration.report is not None:
        report.write(configuration.report, result, tables, progress)
        print(f"report: {configuration.report}", file=sys.stderr)
    print(f"model: {configuration.output}", file=sys.stderr)
