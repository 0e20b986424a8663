"""`forceserver check`: do the configuration, i-PI's input and the template agree?"""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import arguments

if TYPE_CHECKING:
    from ..preflight import Finding


def check(
    config: arguments.Config,
    drivers: Annotated[
        int, typer.Option("--drivers", "-n", min=0, help="Number of drivers that will serve the simulation.")
    ] = 1,
    compute: Annotated[
        bool,
        typer.Option("--compute/--no-compute", help="Compute potential, variables and bias for the template."),
    ] = True,
    potential: Annotated[
        bool, typer.Option("--potential", help="Also run the conformance check on the potential.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="With --potential: allowed relative error of derivatives and symmetries.")
    ] = 1e-6,
    step: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            max=0.1,
            help="With --potential: step of finite differences, Angstrom.",
            show_default="from the noise",
        ),
    ] = None,
    verbose: arguments.Verbose = False,
) -> None:
    """Compare the configuration, i-PI's input and the template structure, without starting anything.

    Reports what does not match and what could be faster. Exit code: 0 everything matches, 2 something does not.
    """
    from ..configuration import read_configuration, require
    from ..preflight import WRONG, inspect
    from .logs import set_up_logging

    set_up_logging(verbose)
    configuration = read_configuration(config)
    findings = inspect(config, configuration, drivers, compute=compute)
    if potential:
        require(configuration.potential, "potential", config, "--potential checks it")
        from ..preflight.conformance import inspect_potential

        findings.extend(inspect_potential(configuration, tolerance, step))
    show(findings)
    if any(finding.verdict is WRONG for finding in findings):
        raise typer.Exit(InputError.exit_code)


def show(findings: Iterable["Finding"]) -> None:
    """The findings as a table; for programs, as lines that are not broken."""
    rows = [(*finding.verdict.value, finding.what, finding.text) for finding in findings]
    if not sys.stdout.isatty():
        width = max((len(what) for _, _, what, _ in rows), default=0)
        for word, _, what, text in rows:
            print(f"{word:<6}  {what:<{width}}  {text}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for word, colour, what, text in rows:
        table.add_row(Text(word, style=colour), Text(what), Text(text))
    Console().print(table)
