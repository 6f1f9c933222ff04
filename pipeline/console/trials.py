"""Show the trials of a search: a line for each that has ended, and what is live below the lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from pipeline.events import TrialFinished, TrialStarted

TASK = "search"
"""The task whose progress is that of the trials."""
OWN = -1
MAX_FRONT, MAX_RUNNING = 8, 4
MIN_RECIPE = 16
"""Columns of a table for the recipe; figures that do not fit beside it are left out."""
MIN_NAME = 24
"""Columns of a line for the name and recipe of a trial; figures that do not fit beside them are left out."""
RESERVED = 7
"""Lines of a terminal for headings, bars and the line of the trial that ended last."""
SHOWN = 3
"""Figures of a trial in its line."""


def name_of(number: int) -> str:
    """Return what a trial is called."""
    return "your settings" if number == OWN else f"trial {number}"


def trial_line(event: TrialFinished) -> str:
    """Return how a trial ended, for a log."""
    parts = [f"{name_of(event.number)}: {event.recipe}: "]
    if event.state == "complete":
        parts += [", ".join(f"{name} {value}" for name, value in _brief(event)), f"; {_remark(event)}"]
    else:
        parts.append(f"{_ending(event)}: {event.reason}")
    return f"{''.join(parts)}; {event.seconds:.0f} s ({event.finished} of {event.total})"


def trial_text(event: TrialFinished, width: int) -> Text:
    """Return how a trial ended, as one line of a terminal; what has no room is cut off."""
    from rich.text import Text

    mark, style = _mark(event)
    right = f"  {event.seconds:5.0f} s"
    if not event.reason:
        parts = [f"  {name} {value:>{_digits(name)}}" for name, value in _brief(event)]
        while parts and width - len("".join(parts)) - len(right) < MIN_NAME:
            parts.pop()
        right = "".join(parts) + right
    left = Text.assemble((mark, style), " ", (name_of(event.number), "bold"), " ", event.recipe)
    room = max(width - len(right), 1)
    if event.reason:
        words = {"complete": event.reason}.get(event.state, f"{_ending(event)}: {event.reason}")
        left.truncate(max(room // 2, room - len(words) - 2), overflow="ellipsis")
        left.append(f"  {words}", "dim")
    left.truncate(room, overflow="ellipsis", pad=True)
    return left.append(right)


def _mark(event: TrialFinished) -> tuple[str, str]:
    if event.state == "refused":
        return "✗", "red"
    if event.state == "stopped":
        return "↓", "yellow"
    return ("✓", "green") if event.number in event.front else ("·", "dim")


def _ending(event: TrialFinished) -> str:
    return "stopped early" if event.state == "stopped" else event.state


def _remark(event: TrialFinished) -> str:
    return event.reason or ("on the front" if event.number in event.front else "not on the front")


def _brief(event: TrialFinished) -> list[tuple[str, str]]:
    """Return short names and texts of the figures that say the most."""
    from pipeline.searching.report import figure_text, short_name

    first = ("score", "download")
    names = sorted(event.values, key=lambda name: (name not in first, name == short_name(name)))
    return [(short_name(name), figure_text(name, event.values[name])) for name in names[:SHOWN]]


def _digits(name: str) -> int:
    """Return how wide a figure is, so that figures of several lines are below each other."""
    return 6 if name in {"score", "robustness"} else 5


class TrialsView:
    """What is live during a search: the front, and the trials that run.

    Events and the thread that draws share it, so that what is drawn is replaced as a whole.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running: dict[int, tuple[str, float]] = {}
        self._ended: dict[int, TrialFinished] = {}
        self._front: tuple[TrialFinished, ...] = ()
        self._last: TrialFinished | None = None
        self._missing = 0
        self._began: float | None = None

    def start(self, event: TrialStarted) -> None:
        """Show a trial that runs."""
        self._began = self._clock() if self._began is None else self._began
        self._running = self._running | {event.number: (event.recipe, self._clock())}

    def finish(self, event: TrialFinished) -> None:
        """Show a trial no longer, and the front that it leaves."""
        self._running = {number: run for number, run in self._running.items() if number != event.number}
        self._ended[event.number] = event
        if self._last is None or event.finished > self._last.finished:
            self._last = event
        front = [self._ended[number] for number in event.front if number in self._ended]
        self._missing = len(event.front) - len(front)  # those that ended before the search was resumed
        self._front = tuple(sorted(front, key=lambda each: -each.values.get("score", 0.0)))

    def close(self) -> None:
        """Show nothing more: the search has ended."""
        self._running, self._front, self._ended, self._began, self._last = {}, (), {}, None, None

    def seconds_left(self) -> float | None:
        """Return how long the trials will take that are left; None if none has ended here."""
        if self._began is None or self._last is None:
            return None
        left = self._last.total - self._last.finished
        return (self._clock() - self._began) / len(self._ended) * left

    def lines(self, width: int, height: int) -> Iterator[RenderableType]:
        """Yield what is drawn above the bars of a terminal of this size."""
        running = sorted(self._running.items(), key=lambda each: each[1][1])
        shown = running[:MAX_RUNNING]
        rows = max(min(MAX_FRONT, height - RESERVED - len(shown)), 1)
        if self._front or shown:
            yield ""
        if self._front:
            yield self._front_table(self._front, rows, width)
        if shown:
            yield self._running_table(shown, len(running) - len(shown))

    def _front_table(self, front: tuple[TrialFinished, ...], rows: int, width: int) -> RenderableType:
        from rich.text import Text

        from pipeline.searching.report import figure_text, short_name

        more = len(front) - rows + self._missing if len(front) > rows else self._missing
        names, room = [], width - MIN_RECIPE - len("trial") - 4
        for name in front[0].values:
            room -= max(len(short_name(name)), 6) + 2
            if room >= 0:
                names.append(name)
        table = _table()
        table.add_column("trial", justify="right", no_wrap=True)
        table.add_column(f"on the front{f', {more} more' if more else ''}", no_wrap=True, ratio=1)
        for name in names:
            table.add_column(short_name(name), justify="right", no_wrap=True)
        for event in front[:rows]:
            figures = [figure_text(name, event.values[name]) for name in names]
            number = "yours" if event.number == OWN else str(event.number)
            table.add_row(number, Text(event.recipe, overflow="ellipsis"), *figures)
        return table

    def _running_table(self, running: list[tuple[int, tuple[str, float]]], more: int) -> RenderableType:
        from rich.text import Text

        table, now = _table(), self._clock()
        table.add_column("trial", justify="right", no_wrap=True)
        table.add_column(f"running{f', {more} more' if more else ''}", no_wrap=True, ratio=1)
        table.add_column("time", justify="right", no_wrap=True)
        for number, (recipe, began) in running:
            name = "yours" if number == OWN else str(number)
            table.add_row(name, Text(recipe, overflow="ellipsis"), clock_text(now - began))
        return table


def clock_text(seconds: float) -> str:
    """Return e.g. "1:02:03"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _table() -> Table:
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True, header_style="dim")
