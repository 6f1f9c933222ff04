"""Events in a file, a line of JSON each: the record of a build, and how a child's events reach its parent."""

from __future__ import annotations

import math
import os
import threading
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING

from pipeline.events import Progress, Record, listening, relay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

RELAY_S = 0.2
"""Seconds between two looks at what a child has written."""


class EventFile:
    """A listener that appends each event to a file, as a line of JSON.

    A line is written at once, so that a killed process leaves whole lines. Of a task's progress there is at
    most one line in ``interval_s``, besides its first and its last. A file that cannot be written, such as on
    a full disk, gets no more lines: work does not end for want of its record.
    """

    def __init__(self, path: Path, interval_s: float = 1.0) -> None:
        self._interval_s = interval_s
        self._written: dict[str, float] = {}
        self._lock = threading.Lock()
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._close()

    def __call__(self, record: Record) -> None:
        """Append an event."""
        with self._lock:
            if self._file is None or self._is_too_soon(record):
                return
            try:
                os.write(self._file, f"{record.to_json()}\n".encode())
            except OSError:
                self._close()

    def _is_too_soon(self, record: Record) -> bool:
        event, now = record.event, record.time.timestamp()
        if not isinstance(event, Progress):
            return False
        if not event.finished and now - self._written.get(event.id, -math.inf) < self._interval_s:
            return True
        self._written[event.id] = now
        return False

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None


@contextmanager
def relaying(path: Path) -> Iterator[None]:
    """Hand on the events that a child process appends to a new file, while the block runs.

    Args:
        path: of the file; the child finds it by ``recording``.
    """
    path.touch()
    ended = threading.Event()
    thread = threading.Thread(target=copy_context().run, args=(_follow, path, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _follow(path: Path, ended: threading.Event) -> None:
    line, is_last = "", False
    with path.open(encoding="utf-8") as file:
        while not is_last:
            is_last = ended.wait(RELAY_S)
            for part in file:
                line += part
                if line.endswith("\n"):
                    relay(Record.from_json(line))
                    line = ""


@contextmanager
def recording(path: Path) -> Iterator[None]:
    """Append this process's events to the file that ``relaying`` made in the parent, if it did."""
    if not path.exists():
        yield
        return
    with EventFile(path, RELAY_S) as file, listening(file):
        yield
