"""What is read of events that are being written."""

from __future__ import annotations

from datetime import UTC, datetime

from library import FIRST, STAGES, add_running, finished, stages, write_events

from pipeline.dashboard.following import Follower, first_record, last_record
from pipeline.events import BuildStarted


def test_a_follower_hears_what_is_appended_and_waits_for_whole_lines(tmp_path):
    events = tmp_path / "events.jsonl"
    write_events(tmp_path, [BuildStarted(release="tiny"), *stages(STAGES[:2])], FIRST)
    whole = events.read_bytes()
    events.write_bytes(whole[:-40])
    follower = Follower(events)
    assert [name for name, *_ in follower.story().stages] == ["load_model"]
    assert list(follower.story().running) == ["load_data"]
    with events.open("ab") as file:
        file.write(whole[-40:])
    assert [name for name, *_ in follower.story().stages] == ["load_model", "load_data"]
    assert follower.story().broken == 0


def test_a_follower_begins_again_with_a_new_build(tmp_path):
    events = tmp_path / "events.jsonl"
    write_events(tmp_path, [BuildStarted(release="old"), *stages(STAGES)], FIRST)
    follower = Follower(events)
    assert follower.story().release == "old"
    events.rename(tmp_path / "before")  # keeps its inode, so that the new file has another
    write_events(tmp_path, [BuildStarted(release="new")], FIRST)
    assert follower.story().release == "new"
    assert follower.story().stages == []


def test_lines_that_are_no_events_are_counted_and_do_not_stop_the_others(tmp_path):
    write_events(tmp_path, [BuildStarted(release="tiny")], FIRST)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "of a later version"}\n\xff\xfe\n' + b"[" * 100_000 + b"\n[1]\n")
    write_events(tmp_path / "other", [finished("failed")], FIRST)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write((tmp_path / "other" / "events.jsonl").read_bytes())
    story = Follower(tmp_path / "events.jsonl").story()
    assert story.broken == 4
    assert story.state() == "failed"


def test_a_build_without_an_end_is_running_while_it_speaks_and_silent_later(tmp_path):
    now = datetime.now(UTC)
    add_running(tmp_path, "tiny", now)
    story = Follower(tmp_path / "events.jsonl").story()
    assert story.state(now.timestamp() + 299) == "running"
    assert story.state(now.timestamp() + 301) == "silent"
    assert [progress.done for _, progress in story.tasks.values()] == [1240]


def test_the_first_and_the_last_event_are_those_of_whole_lines(tmp_path):
    events = tmp_path / "events.jsonl"
    write_events(tmp_path, [BuildStarted(release="tiny"), *stages(STAGES)], FIRST)
    with events.open("ab") as file:
        file.write(b'{"time": "2026')
    assert first_record(events).event == BuildStarted(release="tiny")
    assert last_record(events).stage == "judge"
    events.write_bytes(b'{"time": "2026')
    assert first_record(events) is None
    assert last_record(events) is None
    assert last_record(tmp_path / "none") is None
