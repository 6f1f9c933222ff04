"""Measurements side by side, on as many cores as there are."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from pipeline.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def run_parallel(name: str, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run the jobs, as many at a time as there are cores; results come in the order of the jobs."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, track(name, len(jobs), "measurements") as advance:
        futures = [pool.submit(copy_context().run, job) for job in jobs]  # in the stage of this thread
        for future in futures:
            future.add_done_callback(lambda _: advance())
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
