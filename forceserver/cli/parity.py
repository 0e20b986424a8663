"""The table of errors against reference labels that `evaluate` and `fit` print."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis.parity import ParityTable
    from ..fit.limits import Limit


def print_errors(table: "ParityTable", title: str | None = None) -> None:
    """Prints errors by group and quantity."""
    from rich.console import Console
    from rich.table import Table

    from ..analysis.other_units import doubts

    shown = Table(title=title, title_justify="left")
    shown.add_column("group")
    shown.add_column("quantity")
    for column in ("values", "RMSE", "MAE"):
        shown.add_column(column, justify="right")
    shown.add_column("unit")
    for group, quantity, parity in table.rows():
        rmse, mae = parity.rmse() * quantity.scale, parity.mae() * quantity.scale
        shown.add_row(group, quantity.name, str(len(parity)), f"{rmse:.4g}", f"{mae:.4g}", quantity.error_unit)
    Console().print(shown)
    for doubt in doubts(table):
        print(doubt)
    if (coverage := table.coverage()) is not None:
        print(f"uncertainty: {coverage}")


def print_limits(limits: "list[Limit]") -> None:
    """Prints the predictions of a model far from its data, holes in red, and the remedy."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title="far from the data", title_justify="left")
    for column in ("what", "found", ""):
        shown.add_column(column)
    for limit in limits:
        shown.add_row(limit.what, limit.found, "[red]hole[/red]" if limit.hole else "ok")
    Console().print(shown)
    if any(limit.hole for limit in limits):
        Console().print("holes: add such structures (dimers, dense ones, isolated atoms) to the training data")
