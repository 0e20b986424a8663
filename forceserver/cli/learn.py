"""`forceserver learn`: simulations, a reference and fits, until a model knows what they meet."""

from pathlib import Path
from typing import Annotated

import typer

from . import arguments
from .progress import progress


def learn(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The configuration of the run, a TOML file.", show_default=False)
    ],
    status: Annotated[bool, typer.Option("--status", help="Show how far the run is, and do nothing.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check everything that can be, and compute nothing.")] = False,
    verbose: arguments.Verbose = False,
) -> None:
    """Learn on the fly: simulate with a model, compute what it is uncertain of with a reference, fit, again.

    Simulations stop where the uncertainty of a force reaches a threshold. It ends when all are complete and the error
    in what they meet at random is that of [target], or when [budget] is spent. To resume a run that was interrupted
    or killed, repeat the command.

    Exit code: 0 the target is reached (or there is none); 1 it is not, or the reference or a simulation failed; 2 an
    input is wrong; 128 + N ended by signal N.
    """
    from ..learn import loop
    from ..learn.config import load
    from ..learn.history import history, table
    from .logs import set_up_logging

    set_up_logging(verbose)
    configuration = load(config)
    if status:
        records = history(configuration)
        typer.echo((table(records, configuration) if records else "") + loop.where(configuration), nl=False)
        return
    if check:
        typer.echo("\n".join([*loop.check(configuration), f"{config}: ready"]))
        return
    end = loop.learn(configuration, progress)
    if end.code < 128:
        typer.echo(table(history(configuration), configuration))
        typer.echo(f"model: {configuration.output}   history: {configuration.folder / 'history.png'}")
    typer.echo(f"{'reached' if end.reached else 'stopped'}: {end.why}", err=True)
    raise typer.Exit(end.code)
