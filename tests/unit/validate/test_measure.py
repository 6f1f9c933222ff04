"""The measurements' own arithmetic: differences in steps, and jobs side by side."""

from __future__ import annotations

import threading
import time
from functools import partial

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.validate.measure import differences, run_all


def test_differences_are_counted_a_sample_and_measured_in_steps():
    ours = [np.array([[1, 2], [-128, 4], [5, 6]], np.int8)]
    theirs = [np.array([[1, 2], [127, 4], [5, 7]], np.int8)]

    assert differences(ours, theirs) == (2, 255.0)
    assert differences(ours, ours) == (0, 0.0)


def test_a_sample_differs_where_any_of_its_outputs_does():
    same, one, other = np.zeros((3, 2)), np.array([[0], [0], [3]]), np.zeros((3, 1))

    assert differences([same, one], [same, other]) == (1, 3.0)


def test_results_come_in_the_order_of_the_jobs():
    jobs = [partial(lambda value: time.sleep((5 - value) / 100) or value, value) for value in range(5)]

    assert run_all("measure", jobs) == [0, 1, 2, 3, 4]


def test_the_first_failure_ends_the_rest():
    started, wanted = [], 50

    def fail():
        raise StageError("measure", "it broke", "mend it")

    def job():
        started.append(threading.get_ident())
        time.sleep(0.02)

    with pytest.raises(StageError, match="it broke"):
        run_all("measure", [fail, *[job] * wanted])

    assert len(started) < wanted
