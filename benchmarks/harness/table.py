"""A table of results, as markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

Cell = str | float | int | None


def text(value: Cell) -> str:
    """Numbers with three significant digits, integers in full, a dash for what was not measured."""
    if value is None:
        return "-"
    if isinstance(value, str | int):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 3 - len(str(int(abs(value)))) if abs(value) >= 1 else 3
        return f"{value:.{max(digits, 0)}f}"
    return f"{value:.2e}"


@dataclass
class Table:
    """Rows under column names; the first column is a name, the others are numbers with their unit in the title."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    note: str = ""

    def markdown(self) -> str:
        """The table as GitHub markdown, columns padded so that it also reads well in a terminal."""
        cells = [[str(name) for name in self.columns], *([text(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

        def line(row: Sequence[str]) -> str:
            padded = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            return "| " + " | ".join(padded) + " |"

        rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
        body = "\n".join([line(cells[0]), rule, *map(line, cells[1:])])
        return f"**{self.title}**\n\n{body}\n" + (f"\n{self.note}\n" if self.note else "")
