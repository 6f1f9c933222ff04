"""Progress of a task as events."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.events import listening
from pipeline.progress import track


@pytest.fixture
def heard():
    """The events that are emitted."""
    found = []
    with listening(lambda record: found.append(record.event)):
        yield found


def test_a_task_begins_advances_and_ends(heard):
    with track("prune", 40, "steps") as advance:
        advance(10, "loss 0.3")
        advance(30)

    assert [(event.done, event.total, event.note, event.finished) for event in heard] == [
        (0, 40, "", False),
        (10, 40, "loss 0.3", False),
        (40, 40, "loss 0.3", False),
        (40, 40, "loss 0.3", True),
    ]
    assert {(event.task, event.unit) for event in heard} == {("prune", "steps")}
    assert len({event.id for event in heard}) == 1


def test_a_task_that_fails_ends_too(heard):
    with pytest.raises(ValueError, match="no data"), track("prune"):
        raise ValueError("no data")

    assert heard[-1].finished
    assert heard[-1].total is None


def test_tasks_of_one_name_are_told_apart(heard):
    with track("copy"), track("copy"):
        pass

    assert len({event.id for event in heard}) == 2


def test_threads_may_advance_one_task(heard):
    with track("copy", 100, "files") as advance, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: advance(), range(100)))

    assert [event.done for event in heard] == [*range(101), 100]
