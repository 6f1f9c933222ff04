"""The report's files: all of them, or none."""

from __future__ import annotations

import errno

import pytest

from pipeline.report import views


def test_all_views_are_written_and_nothing_else(report, tmp_path):
    views.write_views(report, tmp_path / "report")
    names = ["junit.xml", "report.html", "report.json", "report.txt"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == names


def test_a_report_that_cannot_be_completed_leaves_the_earlier_one(report, tmp_path, monkeypatch):
    views.write_views(report, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(views, "write_junit", fail)
    monkeypatch.setattr(views, "report_text", lambda _: "another")
    with pytest.raises(OSError, match="No space"):
        views.write_views(report, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
