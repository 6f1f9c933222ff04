"""The live display of a command: bars of its tasks, below the trials of a search. Imports rich."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from rich import progress
from rich.text import Text

from pipeline.cli.trials import TASK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType

    from pipeline.cli.trials import TrialsView

WIDE = 100
"""Columns of a terminal from which bars and names are longer."""


def bars(console: Console, trials: TrialsView) -> progress.Progress:
    """Return the display; nothing is drawn before it starts."""
    name, bar = (26, 28) if console.width >= WIDE else (18, 14)
    return Display(
        progress.SpinnerColumn(),
        progress.TextColumn(f"{{task.description:<{name}}}", markup=False),
        progress.BarColumn(bar_width=bar),
        Done(),
        progress.TimeElapsedColumn(),
        TimeLeft(trials),
        progress.TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=console,
        transient=True,
        trials=trials,
    )


class Display(progress.Progress):
    """Bars below what is live of a search; rich draws one live display at a time."""

    def __init__(
        self, *columns: progress.ProgressColumn, console: Console, transient: bool, trials: TrialsView
    ) -> None:
        self._trials, self._terminal = trials, console  # rich asks what to draw while it is made
        super().__init__(*columns, console=console, transient=transient)

    def print_line(self, line: Text) -> None:
        """Print a line above what is live.

        rich's own thread draws under this lock. Without it, it could change the number of live lines after
        they were counted for this print and before they are erased.
        """
        with self.live._lock:
            self._terminal.print(line, no_wrap=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the parts, from the top."""
        yield from self._trials.lines(*self._terminal.size)
        yield from super().get_renderables()


class Done(progress.ProgressColumn):
    """The progress; empty if the total is unknown."""

    def render(self, task: progress.Task) -> Text:
        """Return e.g. "12/40 steps"."""
        known = task.total is not None
        text = f"{task.completed:.0f}/{task.total:.0f} {task.fields['unit']}" if known else ""
        return Text(text, no_wrap=True)


class TimeLeft(progress.TimeRemainingColumn):
    """The time left; that of trials, which take longer than rich looks back, is estimated from all."""

    def __init__(self, trials: TrialsView) -> None:
        self._trials = trials
        super().__init__()

    def render(self, task: progress.Task) -> Text:
        """Return e.g. "0:12:40 left"."""
        left = self._trials.seconds_left() if task.description == TASK else None
        if left is None:
            return super().render(task)
        return Text(f"{timedelta(seconds=round(left))} left", style="progress.remaining", no_wrap=True)
