"""What the folder holds, and that nothing outside of it is read."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from library import add_all, add_search, write_events

from pipeline.dashboard.folder import Library
from pipeline.dashboard.pages import Pages
from pipeline.dashboard.summaries import Summaries
from pipeline.errors import InputError
from pipeline.events import SearchFinished, TrialStarted


@pytest.fixture
def folder(tmp_path, report):
    folder = tmp_path / "builds"
    folder.mkdir()
    add_all(folder, report)
    return folder


def test_everything_is_found_once_with_its_kind(folder, write_release):
    write_release(folder / "signed")
    (folder / "build-1" / "store" / f"judge-{'ab' * 12}").mkdir(parents=True)
    (folder / "build-1" / "store" / f"judge-{'ab' * 12}" / "report.json").write_text("{}")
    kinds = {}
    for place in Library(folder).places().values():
        kinds.setdefault(place.kind, []).append(place.key)
    assert len(kinds["build"]) == 15
    assert sorted(kinds["search"]) == ["searches/first", "searches/second"]
    assert kinds["release"] == ["signed/tiny-1.2.3-arm64"]
    assert len(kinds["devices"]) == 6


def test_a_build_itself_can_be_the_folder(folder):
    library = Library(folder / "build-1")
    assert list(library.places()) == ["."]
    assert Summaries(library).of(library.places()["."]).state == "passed"


def test_links_out_of_the_folder_and_pipes_are_not_read(folder, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    os.mkfifo(folder / "pipe.json")
    library = Library(folder)
    assert not any("link" in key or "pipe" in key for key in library.places())
    for path in (folder / "link.json", folder / "linked" / "secret.json", folder / "pipe.json", tmp_path):
        with pytest.raises(InputError):
            library.read(path)


def test_a_report_is_read_again_only_when_it_has_changed(folder, monkeypatch):
    from pipeline.dashboard import summaries

    library = Library(folder)
    place = library.places()["build-1"]
    found = Summaries(library)
    first = found.of(place)
    parsed = []
    monkeypatch.setattr(summaries, "parse_report", lambda raw, name: parsed.append(name))
    assert found.of(place) == first
    assert parsed == []
    os.utime(place.report)
    found.of(place)
    assert parsed == ["report.json"]


def test_a_report_of_the_build_before_is_not_taken_for_that_of_one_that_runs(folder, report):
    from library import add_running

    add_running(folder / "build-1", report.name)
    library = Library(folder)
    one = Summaries(library).of(library.places()["build-1"])
    assert one.state == "running"
    assert one.figures == ()
    assert one.why == "its report is of an earlier build"


def test_a_copied_report_is_listed_by_the_time_at_which_it_was_judged(folder):
    copy = folder / "copy"
    copy.mkdir()
    source = folder / "build-4" / "report"
    (copy / "report.json").write_bytes(next(source.rglob("report.json")).read_bytes())  # with the time of now
    text = Pages(Library(folder), "builds").builds("", 1)
    assert text.index('value="build-5"') < text.index('value="copy"') < text.index('value="build-3"')


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([SearchFinished(chosen=None)], "searched"),
        ([SearchFinished(chosen=2)], "searched"),
        ([TrialStarted(number=1, recipe="ptq8")], "silent"),
    ],
)
def test_a_search_has_ended_with_or_without_a_candidate_or_is_silent(events, state, tmp_path):
    folder = tmp_path / "search"
    add_search(folder)
    write_events(folder, events, datetime(2026, 11, 1, tzinfo=UTC), 10.0)
    library = Library(tmp_path)

    assert Summaries(library).state(library.places()["search"]) == state
