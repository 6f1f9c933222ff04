"""Jobs at the same time."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from pipeline.errors import StageError
from pipeline.validation.jobs import run_parallel


def test_results_come_in_the_order_of_the_jobs():
    jobs = [partial(lambda value: time.sleep((5 - value) / 100) or value, value) for value in range(5)]

    assert run_parallel("measure", jobs) == [0, 1, 2, 3, 4]


def test_the_first_failure_ends_the_rest():
    started, wanted = [], 50

    def fail():
        raise StageError("measure", "it broke", "mend it")

    def job():
        started.append(threading.get_ident())
        time.sleep(0.02)

    with pytest.raises(StageError, match="it broke"):
        run_parallel("measure", [fail, *[job] * wanted])

    assert len(started) < wanted
