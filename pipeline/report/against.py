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

    from pipeline.validation.against import Against


def against_tables(found: Against) -> Iterator[RenderableType]:
    """Sizes, emulated instructions and bytes, accuracy and host latency, as far as they were measured."""
    table = make_table(
        f"Against {escape(printable(found.reference_name))}",
        "kind",
        "",
        "reference",
        "candidate",
        "change",
        numbers=3,
    )
    table.columns[0].no_wrap = True
    _row(table, "file", "size, bytes", found.reference.size_bytes, found.candidate.size_bytes)
    _row(
        table, "file", "compressed, bytes", found.reference.compressed_bytes, found.candidate.compressed_bytes
    )
    for change in found.devices:
        candidate, reference = change.candidate, change.reference
        where = f"{candidate.device}, {candidate.core}"
        _row(table, candidate.kind, f"{where}: instructions", reference.instructions, candidate.instructions)
        _row(table, candidate.kind, f"{where}: bytes loaded", reference.load_bytes, candidate.load_bytes)
        _row(table, candidate.kind, f"{where}: bytes stored", reference.store_bytes, candidate.store_bytes)
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
    if found.note:
        table.caption = escape(f"Reference: {printable(found.note)}")
    yield table
    if found.latency is not None:
        yield ratio_table("Host latency, side by side", found.latency, names=("reference", "candidate"))


def _row(table: Table, kind: str, what: str, reference: int, candidate: int) -> None:
    table.add_row(kind, what, f"{reference:,}", f"{candidate:,}", f"{candidate / max(reference, 1) - 1:+.2%}")
