"""Events in a file: whole lines whatever happens, and from a child process to its parent."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.event_file import EventFile, recording, relaying
from pipeline.events import Finding, Progress, Record, emit, in_stage, listening
from pipeline.isolation import sandbox
from pipeline.isolation.sandbox import Confinement

NOON = datetime(2026, 1, 2, 12, 0, 0, 0, UTC)


def progress(done, finished=False, task="1.0"):
    return Progress(
        task="prune", id=task, done=done, total=9, unit="", note="", seconds=1.0, finished=finished
    )


def read(path):
    return [Record.from_json(line) for line in path.read_text().splitlines()]


def test_events_are_appended_a_line_each(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventFile(path) as file, listening(file):
        emit(Finding(text="one"))
        emit(Finding(text="two\nlines"))

    assert [record.event.text for record in read(path)] == ["one", "two\nlines"]


def test_of_a_tasks_progress_there_is_at_most_one_line_in_an_interval_and_always_the_last(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventFile(path, interval_s=1.0) as file:
        for tenth in range(25):
            file(Record(NOON + timedelta(seconds=tenth / 10), "prune", progress(tenth)))
        file(Record(NOON + timedelta(seconds=2.5), "prune", progress(99, task="other")))
        file(Record(NOON + timedelta(seconds=2.5), "prune", progress(25, finished=True)))

    assert [record.event.done for record in read(path)] == [0, 10, 20, 99, 25]


def test_a_killed_process_leaves_whole_lines(tmp_path):
    path = tmp_path / "events.jsonl"
    program = (
        "import os, sys; from pathlib import Path\n"
        "from pipeline.event_file import EventFile; from pipeline.events import Finding, emit, listening\n"
        "with EventFile(Path(sys.argv[1])) as file, listening(file):\n"
        "    for number in range(500): emit(Finding(text=f'{number} ' + 'x' * 1000))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, path])

    assert ended.returncode == -9
    assert len(read(path)) == 500


def test_a_full_disk_ends_the_record_and_not_the_work():
    with EventFile("/dev/full") as file, listening(file):
        emit(Finding(text="one"))
        emit(Finding(text="two"))


def test_events_of_a_child_reach_the_listeners_of_its_parent_in_order_and_in_its_stage(tmp_path):
    path, heard = tmp_path / "events.jsonl", []
    program = (
        "import sys; from pathlib import Path\n"
        "from pipeline.event_file import recording; from pipeline.events import Finding, emit\n"
        "with recording(Path(sys.argv[1])):\n"
        "    for number in range(200): emit(Finding(text=str(number)))\n"
    )
    with listening(heard.append), in_stage("convert"), relaying(path):
        subprocess.run([sys.executable, "-c", program, path], check=True)

    assert [record.event.text for record in heard] == [str(number) for number in range(200)]
    assert {record.stage for record in heard} == {"convert"}


def test_a_child_whose_parent_does_not_listen_records_nothing(tmp_path):
    with recording(tmp_path / "events.jsonl"):
        emit(Finding(text="one"))

    assert not (tmp_path / "events.jsonl").exists()


def test_the_relay_ends_with_its_block(tmp_path):
    with pytest.raises(KeyboardInterrupt), relaying(tmp_path / "events.jsonl"):
        raise KeyboardInterrupt


EMIT = "from pipeline.events import Finding, emit; emit(Finding(text='from the child'))"


def test_events_of_a_sandboxed_child_reach_the_listeners_of_its_parent():
    heard = []
    with listening(heard.append):
        sandbox.run("convert", exec, EMIT, timeout_s=60.0)

    assert [record.event.text for record in heard if isinstance(record.event, Finding)] == ["from the child"]


def test_events_of_code_that_is_not_the_pipelines_own_are_not_believed():
    heard = []
    with listening(heard.append):
        rules = Confinement("data.py:load", network=False)
        sandbox.run("load", exec, EMIT, timeout_s=60.0, rules=rules)

    assert not [record for record in heard if isinstance(record.event, Finding)]
