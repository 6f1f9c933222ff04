"""A model beside another one, figure by figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from pipeline.flatbuffer import printable
from pipeline.report.costs import ratio_table
from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.table import Table

    from pipeline.validate.against import Against


def against_tables(found: Against) -> Iterator[RenderableType]:
    """Sizes, emulated instructions and bytes, accuracy and host latency, as far as they were measured."""
    table = make_table(
        f"Against {escape(printable(found.other_name))}", "kind", "", "other", "this", "change", numbers=3
    )
    table.columns[0].no_wrap = True
    _row(table, "file", "size, bytes", found.other.size_bytes, found.ours.size_bytes)
    _row(table, "file", "compressed, bytes", found.other.compressed_bytes, found.ours.compressed_bytes)
    for change in found.devices:
        ours, other = change.ours, change.other
        where = f"{ours.device}, {ours.core}"
        _row(table, ours.kind, f"{where}: instructions", other.instructions, ours.instructions)
        _row(table, ours.kind, f"{where}: bytes loaded", other.load_bytes, ours.load_bytes)
        _row(table, ours.kind, f"{where}: bytes stored", other.store_bytes, ours.store_bytes)
    for comparison in found.accuracy:
        metric = comparison.primary
        name = f"{comparison.output}: {metric.name}" if comparison.output else metric.name
        interval = "" if metric.low is None else f" [{metric.low:+.2f}, {metric.high:+.2f}]"
        table.add_row(
            "accuracy",
            f"{name}, {comparison.samples:,} samples",
            f"{metric.baseline:.2f}",
            f"{metric.quantized:.2f}",
            f"{metric.difference:+.2f}{interval}",
        )
    yield table
    if found.latency is not None:
        yield ratio_table("Host latency, side by side", found.latency, names=("other", "this"))


def _row(table: Table, kind: str, what: str, other: int, ours: int) -> None:
    table.add_row(kind, what, f"{other:,}", f"{ours:,}", f"{ours / max(other, 1) - 1:+.2%}")
