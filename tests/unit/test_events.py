"""Events: typed, attributed to a stage, and the same after a trip through JSON."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict
from datetime import UTC, datetime

import pytest

from pipeline.events import (
    BuildFinished,
    BuildStarted,
    Distributed,
    Event,
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
    emit,
    in_stage,
    listening,
)

NOON = datetime(2026, 1, 2, 12, 0, 0, 250_000, UTC)
EVENTS = (
    BuildStarted(release="tiny-1.0-arm64"),
    StageStarted(),
    Progress(
        task="prune", id="1.0", done=3, total=9, unit="steps", note="loss 1", seconds=0.5, finished=False
    ),
    Metric(task="prune", name="loss", value=0.25, epoch=1, epochs=4, seconds=2.5),
    Distributed(
        task="prune", when="before", layer="conv", of="weights", low=-1.0, high=1.5, counts=[3, 0, 9]
    ),
    Finding(text="task: binary"),
    Warned(text="few samples: 3\nonly"),
    StageFinished(cached=False, seconds=12.5, digest="5e" * 32, folder="/store/prune-1"),
    BuildFinished(outcome="failed", error="GateFailed", seconds=99.5),
    TrialStarted(number=-1, recipe="ptq8", worker="vm"),
    TrialFinished(
        number=3,
        state="complete",
        recipe="channels50-qat8",
        reason="",
        values={"score": 97.5, "download": 3451.0},
        seconds=61.5,
        finished=4,
        total=30,
        front=[-1, 3],
    ),
    SearchFinished(chosen=3),
)


def test_these_are_all_kinds_of_events():
    assert {type(event) for event in EVENTS} == set(Event.__subclasses__())


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_an_event_is_one_line_of_json_and_reads_back(event):
    record = Record(NOON, "prune", event)
    line = record.to_json()

    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-01-02T12:00:00.250Z",
        "event": event.kind,
        "stage": "prune",
        **asdict(event),
    }
    assert Record.from_json(line) == record


@pytest.mark.parametrize(
    "line", ["", "[]", "{}", '{"time": "2026-01-02T12:00:00Z", "event": "x", "stage": ""}', "null"]
)
def test_what_is_no_event_is_refused(line):
    with pytest.raises(ValueError):  # noqa: PT011 - of the JSON or of its values
        Record.from_json(line)


def test_events_belong_to_the_stage_that_emits_them():
    heard = []
    with listening(lambda record: heard.append((record.stage, record.event.text))):
        emit(Finding(text="before"))
        with in_stage("prune"):
            emit(Finding(text="within"))
            with ThreadPoolExecutor(1) as pool:
                pool.submit(copy_context().run, emit, Finding(text="in a thread")).result()
        emit(Finding(text="after"))

    assert heard == [("", "before"), ("prune", "within"), ("prune", "in a thread"), ("", "after")]


def test_all_listeners_hear_an_event_until_they_leave():
    one, other = [], []
    with listening(one.append):
        with listening(other.append):
            emit(StageStarted())
        emit(StageStarted())

    assert (len(one), len(other)) == (2, 1)
