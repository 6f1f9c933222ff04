"""Progress of long stages, drawn by rich on stderr; silent where stderr is not a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pipeline.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

console = Terminal(stderr=True, highlight=False)


class _Done(ProgressColumn):
    """How much is done of what; nothing where the total is not known."""

    def render(self, task: Task) -> Text:
        return Text(
            "" if task.total is None else f"{task.completed:.0f}/{task.total:.0f} {task.fields['unit']}"
        )


@contextmanager
def track(description: str, total: float | None = None, unit: str = "") -> Iterator[Callable[..., None]]:
    """Show one task's progress while the block runs.

    Args:
        description: what is being done, e.g. ``"prune"``.
        total: how much there is to do, or None where it is not known.
        unit: what ``total`` counts, e.g. ``"samples"``.

    Yields:
        ``advance(amount=1, note="")``: report ``amount`` more done, and a short note such as a loss.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<26}"),
        BarColumn(bar_width=28),
        _Done(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total, unit=unit, note="")

        def advance(amount: float = 1, note: str = "") -> None:
            progress.update(task, advance=amount, note=note)

        yield advance
