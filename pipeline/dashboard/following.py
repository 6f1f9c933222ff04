"""What the events of a build or a search say so far: read as they are written, each line once."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.events import (
    BuildFinished,
    BuildStarted,
    Finding,
    Metric,
    Progress,
    Record,
    SearchFinished,
    StageFinished,
    StageStarted,
    TrialFinished,
    TrialStarted,
    Warned,
)

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 1 << 16
MAX_BYTES = 1 << 24
"""Of a file's events are read: of more the last ones."""
SILENT_S = 300.0
"""Seconds without an event after which a build is no longer taken as running."""
MAX_NOTES = 50


@dataclass
class Story:
    """What happened so far.

    Attributes:
        release: what is built; "" of a search.
        stages: those that have ended: name, seconds, and whether from the store.
        running: stages that have begun and not ended, by name, with their first moment.
        tasks: progress of what is being done now, by id.
        metrics: the newest value of each figure of a training, by task and name.
        trials: those that have ended, by number; ``open`` those that run.
        end: None until the build has finished.
        last: seconds since the epoch of the newest event.
        broken: lines that are not events.
    """

    release: str = ""
    stages: list[tuple[str, float, bool]] = field(default_factory=list)
    running: dict[str, float] = field(default_factory=dict)
    tasks: dict[str, tuple[str, Progress]] = field(default_factory=dict)
    metrics: dict[tuple[str, str], Metric] = field(default_factory=dict)
    trials: dict[int, TrialFinished] = field(default_factory=dict)
    open: dict[int, TrialStarted] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    end: BuildFinished | None = None
    first: float = 0.0
    last: float = 0.0
    broken: int = 0

    def state(self, now: float | None = None) -> str:
        """Return "running", "silent", or how the build ended."""
        if self.end is not None:
            return self.end.outcome
        return "running" if (now or time.time()) - self.last < SILENT_S else "silent"

    def hear(self, record: Record) -> None:
        """Add an event."""
        moment = record.time.timestamp()
        self.first = self.first or moment
        self.last = moment
        match record.event:
            case BuildStarted(release=release):
                self.release = release
            case BuildFinished() as end:
                self.end = end
                self.running.clear()
                self.tasks.clear()
            case StageStarted():
                self.running[record.stage] = moment
            case StageFinished(seconds=seconds, cached=cached):
                self.running.pop(record.stage, None)
                self.stages.append((record.stage, seconds, cached))
                self.tasks = {name: each for name, each in self.tasks.items() if each[0] != record.stage}
            case Progress() as progress:
                self.tasks.pop(progress.id, None)
                if not progress.finished:
                    self.tasks[progress.id] = (record.stage, progress)
            case Metric() as metric:
                self.metrics[metric.task, metric.name] = metric
            case TrialStarted(number=number) as trial:
                self.open[number] = trial
            case TrialFinished(number=number) as trial:
                self.open.pop(number, None)
                self.trials[number] = trial
            case SearchFinished():
                self.open.clear()
                self.tasks.clear()
            case Warned(text=text) | Finding(text=text):
                if text not in self.notes and len(self.notes) < MAX_NOTES:
                    self.notes.append(text)
            case _:
                pass  # histograms are in the report


class Follower:
    """Reads a file of events on from where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._inode, self._offset, self._rest = -1, 0, b""
        self._story = Story()

    def story(self) -> Story:
        """Return all that was written so far; a file that cannot be read has no events."""
        with self._lock:
            try:
                descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                return self._story
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:  # a new build
                    self._inode, self._offset, self._rest, self._story = status.st_ino, 0, b"", Story()
                if status.st_size - self._offset > MAX_BYTES:
                    self._offset, self._rest = status.st_size - MAX_BYTES, b""
                    file.seek(self._offset)
                    self._offset += len(file.readline())
                file.seek(self._offset)
                new = file.read(MAX_BYTES)
            self._offset += len(new)
            *lines, self._rest = (self._rest + new).split(b"\n")
            for line in lines:
                record = record_of(line)
                if record is None:
                    self._story.broken += 1
                else:
                    self._story.hear(record)
            return self._story


def record_of(line: bytes) -> Record | None:
    """Return the event of a line; None if it is none that this version knows."""
    try:
        return Record.from_json(line.decode())
    except (ValueError, RecursionError):
        return None


def first_record(path: Path) -> Record | None:
    """Return the first event of a file; None if there is none yet, or if the file cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            line = file.readline(HEAD_BYTES)
    except OSError:
        return None
    return record_of(line) if line.endswith(b"\n") else None


def last_record(path: Path) -> Record | None:
    """Return the last whole event of a file; None as ``first_record``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - HEAD_BYTES, 0))
            lines = file.read(HEAD_BYTES).split(b"\n")[:-1]
    except OSError:
        return None
    return next((found for line in reversed(lines) if (found := record_of(line)) is not None), None)
