"""First divergence of two runtimes, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from pipeline.node_parity import Parity

MAX_NODES = 10


def parity_tables(found: Sequence[Parity]) -> Iterator[RenderableType]:
    """A line for each pair of runtimes, and the nodes that differ by themselves, in their order."""
    for pair in found:
        yield Text(pair.words)
        if not pair.origins:
            continue
        title = "Nodes that differ though they were given the same"
        if len(pair.origins) > MAX_NODES:
            title = f"The first {MAX_NODES} of {len(pair.origins)} nodes that differ though given the same"
        table = make_table(title, "node", "layer", "samples", "by up to", numbers=2)
        for origin in pair.origins[:MAX_NODES]:
            samples = f"{origin.differing_samples} of {pair.samples}"
            table.add_row(f"{origin.node} {origin.operator}", origin.layer, samples, origin.size)
        yield table
