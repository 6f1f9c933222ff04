"""Operators and layers by what they cost, the dearest first."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rich.text import Text

from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from pipeline.validation.breakdown import Breakdown, OperatorCost

MAX_OPERATORS = 30
NOT_ALONE = "-"


def breakdown_tables(found: Breakdown) -> Iterator[RenderableType]:
    """Yield the operators, the layers, and whether the parts add up to the whole."""
    yield _operators(found)
    if any(row.layer for row in found.operators):
        yield _layers(found)
    yield Text("\n".join(_sums(found)))


def _operators(found: Breakdown) -> Table:
    rows = _by_cost(found, found.operators)
    title = "Operators by cost"
    if len(rows) > MAX_OPERATORS:
        title = f"The {MAX_OPERATORS} dearest of {len(rows)} operators"
    table = make_table(
        title, "#", "operator", "layer", "runs in", "MACs", *_columns(found), numbers=_count(found) + 1
    )
    for column in table.columns:
        column.no_wrap = column.header in {"#", "operator", "runs in", "MACs"}
    for row in rows[:MAX_OPERATORS]:
        macs = f"{row.macs:,}" if row.macs else ""
        table.add_row(str(row.index), row.op, row.layer, row.placement, macs, *_cells(found, [row]))
    return table


def _layers(found: Breakdown) -> Table:
    groups: dict[str, list[OperatorCost]] = defaultdict(list)
    for row in _by_cost(found, found.operators):
        groups[row.layer or "unknown layer"].append(row)
    ordered = sorted(groups.items(), key=lambda group: -sum(_cost(found, row) for row in group[1]))
    table = make_table("Layers by cost", "layer", "operators", *_columns(found), numbers=_count(found) + 1)
    for layer, rows in ordered[:MAX_OPERATORS]:
        table.add_row(layer, str(len(rows)), *_cells(found, rows))
    return table


def _sums(found: Breakdown) -> Iterator[str]:
    """Return, for each whole, the share that the parts add up to."""
    for whole in found.devices:
        alone = sum(whole.device in row.instructions for row in found.operators)
        cost = f"{whole.instructions:,}, of them {whole.invoke:,} for the call itself"
        parts = f"{_partitions(whole.partitions)}, {alone} of {len(found.operators)} operators run alone"
        yield f"emulated instructions on {whole.device}: {cost}"
        yield f"emulated instructions on {whole.device}: parts add up to {whole.share:.1%} ({parts})"
    if found.host is not None:
        host = found.host
        alone = sum(row.host_us is not None for row in found.operators)
        parts = f"{_partitions(host.partitions)}, {alone} of {len(found.operators)} operators run alone"
        yield f"host: {host.total_us:,.1f} µs, of them {host.invoke_us:,.1f} for the call itself"
        yield f"host: parts add up to {host.share:.1%} ({parts})"


def _columns(found: Breakdown) -> list[str]:
    columns = [
        text for whole in found.devices for text in (f"{whole.device}\nemulated\ninstructions", "share")
    ]
    return columns + ["host\nµs", "share"] * (found.host is not None)


def _count(found: Breakdown) -> int:
    return 2 * (len(found.devices) + (found.host is not None))


def _cells(found: Breakdown, rows: Sequence[OperatorCost]) -> Iterator[str]:
    """Sums over some operators, each with its share of the whole."""
    for whole in found.devices:
        counted = [row.instructions[whole.device] for row in rows if whole.device in row.instructions]
        yield f"{sum(counted):,}" if counted else NOT_ALONE
        yield f"{sum(counted) / max(whole.instructions, 1):.1%}" if counted else ""
    if found.host is not None:
        timed = [row.host_us for row in rows if row.host_us is not None]
        yield f"{sum(timed):,.1f}" if timed else NOT_ALONE
        yield f"{sum(timed) / found.host.total_us:.1%}" if timed else ""


def _by_cost(found: Breakdown, rows: Sequence[OperatorCost]) -> list[OperatorCost]:
    return sorted(rows, key=lambda row: -_cost(found, row))


def _cost(found: Breakdown, row: OperatorCost) -> float:
    """Return the sort key: instructions on the first device, or host time without devices."""
    if found.devices:
        return row.instructions.get(found.devices[0].device, 0)
    return row.host_us or 0.0


def _partitions(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"
