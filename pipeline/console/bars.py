"""The live display of a command: bars of its tasks, below the trials of a search. Imports rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import progress
from rich.cells import cell_len
from rich.spinner import Spinner
from rich.text import Text

from pipeline.console.trials import TASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, RenderableType

    from pipeline.console.trials import TrialsView

BAR = (6, 28)
"""Columns of a bar, at least and at most: of all parts of a line it is the first to shrink, and to go."""
NAME = 40
"""Columns that a name keeps before a figure is left out."""
GAP = "  "
REFRESH_PER_S = 4
"""A search draws for hours: more often, this would be most of what its driver computes."""


def bars(console: Console, trials: TrialsView) -> progress.Progress:
    """Return the display; nothing is drawn before it starts."""
    return Display(console=console, transient=True, trials=trials)


class Display(progress.Progress):
    """A line for each task below what is live of a search; rich draws one live display at a time."""

    def __init__(self, *, console: Console, transient: bool, trials: TrialsView) -> None:
        self._trials, self._terminal = trials, console  # rich asks what to draw while it is made
        self._spinner = Spinner("dots")
        super().__init__(console=console, transient=transient, refresh_per_second=REFRESH_PER_S)

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
        for task in self.tasks:
            yield self.line(task, self._terminal.width)

    def line(self, task: progress.Task, width: int) -> Text:
        """Return e.g. "⠋ [5/7] quantization-aware training  epoch 2/4, loss 0.31  0:16 left".

        Figures matter most and are left out last; a bar fills what is left.
        """
        figures = self._figures(task)
        name = Text()
        spinner = self._spinner.render(task.get_time())
        if isinstance(spinner, Text):
            name.append_text(spinner)
        name.append(f" {task.fields['phase']}{task.description}")
        while len(figures) > 1 and _columns(figures) + min(len(name), NAME) > width:
            figures.pop(min(2, len(figures) - 1))  # how much is done goes before the remark and the time left
        name.truncate(max(width - _columns(figures), 1), overflow="ellipsis")
        share = 0.0 if not task.total else min(task.completed / task.total, 1.0)
        room = min(width - len(name) - _columns(figures) - len(GAP), BAR[1])
        if task.total and room >= BAR[0]:
            full = round(share * room)
            name.append(GAP).append("━" * full, "bar.complete").append("━" * (room - full), "bar.back")
        for text, style in figures:
            name.append(GAP).append(text, style)
        name.no_wrap = True
        return name

    def _figures(self, task: progress.Task) -> list[tuple[str, str]]:
        """Return the remark, the time left or elapsed, and how much is done, with their styles."""
        left = self._trials.seconds_left() if task.description == TASK else None
        left = task.time_remaining if left is None else left
        time = f"{_clock(task.elapsed or 0)}" if not left else f"{_clock(left)} left"
        done = f"{task.completed:,.0f}/{task.total:,.0f} {task.fields['unit']}".rstrip() if task.total else ""
        found = [(task.fields["note"], "dim"), (time, "progress.remaining"), (done, "progress.download")]
        return [(text, style) for text, style in found if text]


def _columns(figures: Sequence[tuple[str, str]]) -> int:
    return sum(len(GAP) + cell_len(text) for text, _ in figures)


def _clock(seconds: float) -> str:
    """Return e.g. "0:16" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
