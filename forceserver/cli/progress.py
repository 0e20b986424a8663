"""A bar for loops of a command that take long."""

from collections.abc import Iterable, Iterator


def progress(things: Iterable, title: str, total: int) -> Iterator:
    """Shows a progress bar if standard error is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        for thing in things:
            yield thing
            bar.advance(task)
