"""Table of what each compression step bought."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from pipeline.choices import StepGain

SAME = 0.0005
"""Of a figure: a difference below this is not shown."""


def step_tables(steps: Sequence[StepGain]) -> Iterator[RenderableType]:
    """Yield the table of the steps, if there are any: each figure after the step, and its change."""
    if steps:
        yield step_table(steps)


def step_table(steps: Sequence[StepGain]) -> RenderableType:
    """Return a column for each step, and a row for each figure."""
    title = "Compression steps (instructions are predicted)"
    names, *rows = zip(headings(steps), *map(cells, steps), strict=True)
    table = make_table(title, *names, numbers=len(steps))
    for row in rows:
        table.add_row(*row)
    return table


def headings(steps: Sequence[StepGain]) -> list[str]:
    """Return the names of the columns."""
    devices = (f"instructions, {device}" for device in steps[0].instructions)
    score = f"{steps[0].metric}, held out" if steps[0].metric else "held out"
    return ["", "parameters", "int8 file, bytes", "download, bytes", *devices, score]


def cells(step: StepGain) -> list[str]:
    """Return the figures of one step: e.g. "35,881 (-54 %)", and the score in points."""
    figures = (step.parameters, step.size_bytes, step.download_bytes, *step.instructions.values())
    score = "" if step.score is None else f"{step.score[1]:.2f} ({step.score[1] - step.score[0]:+.2f})"
    return [step.step, *(_changed(*each) for each in figures), score]


def _changed(before: int, after: int) -> str:
    share = after / max(before, 1) - 1
    return f"{after:,}" if abs(share) < SAME else f"{after:,} ({share:+.0%})".replace("%", " %")
