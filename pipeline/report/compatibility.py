"""Requirements of a model on runtimes, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.validation.compatibility import Compatibility


def compatibility_tables(found: Compatibility) -> tuple[RenderableType, ...]:
    """Return the oldest release for the whole file, then for each operator, then the notes."""
    packages = list(found.oldest)
    table = make_table("Oldest release that has the operator", "operator", "version", "nodes", *packages)
    for need in found.operators:
        cells = [since_words(need.since[package], found.asked[package]) for package in packages]
        table.add_row(f"{need.operator}, {need.dtype}", str(need.version), str(need.count), *cells)
    for name in found.custom:
        table.add_row(name, "custom", "", *("none" for _ in packages))
    whole = [since_words(found.oldest[package], found.asked[package]) for package in packages]
    table.add_row("the whole model", "", "", *whole)
    lines = [f"The file itself says: TensorFlow {found.stated}"] if found.stated else []
    lines += [f"note: {note}" for note in found.notes]
    return (table, Text("\n".join(lines))) if lines else (table,)


def since_words(since: str, asked: tuple[str, str]) -> str:
    """A release in words: of the oldest asked nothing is known about those before it."""
    if not since:
        return f"none up to {asked[1]}"
    return f"{since} or older" if since == asked[0] else since
