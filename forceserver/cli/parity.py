"""The table of errors against references, as `evaluate` and `fit` print it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis.parity import ParityTable


def print_errors(table: "ParityTable", title: str | None = None) -> None:
    """Prints errors by group and quantity."""
    from rich.console import Console
    from rich.table import Table

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
