"""Progress of long tasks, as events."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.events import Progress, emit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def track(task: str, total: float | None = None, unit: str = "") -> Iterator[Callable[..., None]]:
    """Report one task's progress while the block runs.

    Args:
        task: what is being done, e.g. ``"prune"``.
        total: how much there is to do, or None if it is not known.
        unit: what ``total`` counts, e.g. ``"samples"``.

    Yields:
        ``advance(amount=1, note="")``: report ``amount`` more done, and a short note such as a loss; in any
        thread.
    """
    started, lock, identity = time.monotonic(), threading.Lock(), os.urandom(6).hex()
    done, shown = 0.0, ""

    def advance(amount: float = 1, note: str = "", *, finished: bool = False) -> None:
        nonlocal done, shown
        with lock:
            done, shown = done + amount, note or shown
            emit(
                Progress(
                    task=task,
                    id=identity,
                    done=done,
                    total=total,
                    unit=unit,
                    note=shown,
                    seconds=round(time.monotonic() - started, 3),
                    finished=finished,
                )
            )

    advance(0)
    try:
        yield advance
    finally:
        advance(0, finished=True)
