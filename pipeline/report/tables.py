"""The look of every table of a report."""

from __future__ import annotations

from rich.table import Table


def make_table(title: str, *columns: str, numbers: int = 0) -> Table:
    """A table whose last ``numbers`` columns are right-aligned."""
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for index, column in enumerate(columns):
        table.add_column(
            column, justify="right" if index >= len(columns) - numbers else "left", overflow="fold"
        )
    return table
