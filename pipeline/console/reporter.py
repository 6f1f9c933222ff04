"""Show the events of a command on stderr: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.console.phases import phase_of, words_of
from pipeline.console.trials import TASK, TrialsView, trial_line, trial_text
from pipeline.events import (
    BuildFinished,
    Event,
    Finding,
    Metric,
    Progress,
    Record,
    StageFinished,
    StageStarted,
    TrialFinished,
    TrialStarted,
    Warned,
)

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.progress import TaskID

HEARTBEAT_S = 60.0
"""Seconds without a line, off a terminal, after which a running task says how far it is."""
BRIEF_S = 2.0
"""Tasks that took less have no line of their own."""


class ConsoleReporter:
    """A listener that writes to stderr; nothing is drawn before the first event.

    Args:
        console: where to write; by default the command's stderr.
        verbose: whether to name each stage's digest and folder.
        heartbeat_s: seconds without a line after which a running task says how far it is.
    """

    def __init__(
        self, console: Console | None = None, *, verbose: bool = False, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self.verbose = verbose
        self._given, self._heartbeat_s = console, heartbeat_s
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._heart: threading.Thread | None = None
        self._running: dict[str, Record] = {}  # the last event of each task and stage that runs
        self._bars: Any = None
        self._bar_of: dict[str, TaskID] = {}
        self._epoch: list[tuple[datetime, Metric]] = []  # figures of one epoch that have no line yet
        self._trials = TrialsView()
        self._last = time.monotonic()
        self._groups = os.environ.get("GITHUB_ACTIONS") == "true"

    def __enter__(self) -> ConsoleReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
        if self._epoch:
            self._end_epoch()
        if self._bars is not None:
            self._bars.stop()

    @property
    def _console(self) -> Console:
        from pipeline.terminal import console

        return self._given or console

    def __call__(self, record: Record) -> None:
        """Show an event."""
        with self._lock:
            if self._epoch and not _is_same_epoch(self._epoch[-1][1], record.event):
                self._end_epoch()
            match record.event:
                case Warned(text=text):
                    self._print(f"warning: {text}", "yellow")
                case Finding(text=text):
                    self._print(text)
                case Progress() as progress:
                    self._follow(record, progress)
                case _ if self._console.is_terminal:
                    self._tick(record.stage, record.event)
                case _:
                    self._log(record, record.event)

    def _tick(self, stage: str, event: Event) -> None:
        """Show one line per stage and trial on a terminal."""
        match event:
            case StageFinished():
                from rich.text import Text

                mark = ("=", "dim") if event.cached else ("✓", "green")
                words = f" {phase_of(stage)}{words_of(stage)}  {event.seconds:.1f} s"
                self._console.print(Text.assemble(mark, words))
                self._detail(event)
            case TrialStarted():
                self._trials.start(event)
            case TrialFinished():
                self._trials.finish(event)
                line = trial_text(event, self._console.width)
                if self._bars is None:
                    self._console.print(line, no_wrap=True)
                else:
                    self._bars.print_line(line)

    def _log(self, record: Record, event: Event) -> None:
        """Elsewhere a line, with the time, for each stage and epoch."""
        match event:
            case StageStarted():
                self._running[record.stage] = record
                self._beat()
                if self._groups:
                    self._print(f"::group::{phase_of(record.stage)}{words_of(record.stage)}")
            case StageFinished(cached=cached, seconds=seconds):
                started = self._running.pop(record.stage, None)
                took = "cached" if cached else f"{seconds:.1f} s"
                self._stamp(record.time, f"{phase_of(record.stage)}{words_of(record.stage)}: {took}")
                self._detail(event)
                if self._groups and started is not None:
                    self._print("::endgroup::")
            case Metric():
                self._epoch.append((record.time, event))
            case TrialFinished():
                self._stamp(record.time, trial_line(event))
            case BuildFinished(outcome=outcome, seconds=seconds):
                if self._groups and self._running:
                    self._print("::endgroup::")
                self._running.clear()
                self._stamp(record.time, f"build: {outcome} after {seconds:.1f} s")

    def _end_epoch(self) -> None:
        """Write the figures of an epoch, which are events of their own, as one line."""
        when, last = self._epoch[-1]
        figures = ", ".join(f"{event.name} {event.value:.4f}" for _, event in self._epoch)
        self._epoch.clear()
        epoch = f"epoch {last.epoch}/{last.epochs}, {figures}, {last.seconds:.1f} s"
        self._stamp(when, f"{words_of(last.task)}: {epoch}")

    def _detail(self, event: StageFinished) -> None:
        if self.verbose:
            self._print(f"  {event.digest[:16]}  {event.folder}", "dim")

    def _follow(self, record: Record, progress: Progress) -> None:
        if self._console.is_terminal:
            self._draw(progress, record.stage)
        elif not progress.finished:
            self._running[progress.id] = record
            self._beat()
        else:
            self._running.pop(progress.id, None)
            if progress.seconds >= BRIEF_S and progress.task != record.stage:
                amount = f"{_amount(progress)}{progress.seconds:.1f} s"
                self._stamp(record.time, f"{words_of(progress.task)}: {amount}")

    def _draw(self, progress: Progress, stage: str) -> None:
        if progress.finished:
            if progress.task == TASK:
                self._trials.close()
            bar = self._bar_of.pop(progress.id, None)
            if bar is not None:
                self._bars.update(bar, completed=progress.done, note=progress.note, refresh=True)
                self._bars.remove_task(bar)
            if not self._bar_of and self._bars is not None:
                self._bars.stop()
            return
        if self._bars is None:
            from pipeline.console.bars import bars

            self._bars = bars(self._console, self._trials)
        if progress.id not in self._bar_of:
            self._bars.start()
            self._bar_of[progress.id] = self._bars.add_task(
                words_of(progress.task),
                total=progress.total,
                unit=progress.unit,
                note="",
                phase=phase_of(stage),
            )
        self._bars.update(self._bar_of[progress.id], completed=progress.done, note=progress.note)

    def _beat(self) -> None:
        if self._heart is None:
            self._heart = threading.Thread(target=self._beats, daemon=True)
            self._heart.start()

    def _beats(self) -> None:
        while not self._ended.wait(self._heartbeat_s / 4):
            with self._lock:
                if time.monotonic() - self._last < self._heartbeat_s:
                    continue
                now, running = datetime.now(UTC), tuple(self._running.values())
                with_task = {record.stage for record in running if isinstance(record.event, Progress)}
                for record in running:
                    if isinstance(record.event, Progress) or record.stage not in with_task:
                        self._stamp(now, _running(record, now))

    def _stamp(self, when: datetime, text: str) -> None:
        self._print(f"{when:%Y-%m-%dT%H:%M:%SZ} {text}")

    def _print(self, text: str, style: str = "") -> None:
        from rich.text import Text

        self._last = time.monotonic()
        longest = max(map(len, text.split()), default=0)  # a path is not broken: it may be copied
        fits = self._console.is_terminal and longest <= self._console.width
        self._console.print(Text(text, style), soft_wrap=not fits)


def _is_same_epoch(metric: Metric, event: Event) -> bool:
    return isinstance(event, Metric) and (event.task, event.epoch) == (metric.task, metric.epoch)


def _running(record: Record, now: datetime) -> str:
    """Return the heartbeat line of a task or a stage, given its last event."""
    if not isinstance(record.event, Progress):
        return f"{words_of(record.stage)}: running for {(now - record.time).total_seconds():.0f} s"
    progress = record.event
    seconds = progress.seconds + (now - record.time).total_seconds()
    note = f"{progress.note}, " if progress.note else ""
    return f"{words_of(progress.task)}: {_amount(progress)}{note}running for {seconds:.0f} s"


def _amount(progress: Progress) -> str:
    if progress.total is None:
        return f"{progress.done:,.0f} {progress.unit}, " if progress.done else ""
    return f"{progress.done:,.0f}/{progress.total:,.0f} {progress.unit}".rstrip() + ", "
