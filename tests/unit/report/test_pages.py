"""Pages in a browser: no error, nothing fetched, no overflow on a phone, nothing that axe-core objects to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from browser import problems_of, visit
from search_results import search_result
from whole_report import whole_report

from pipeline.report.history import Entry, history_html
from pipeline.report.html import report_html
from pipeline.searching.page import search_html

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture
def show(tmp_path):
    def write(text):
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        return (tmp_path / "page.html").as_uri()

    return write


@pytest.fixture(scope="module")
def whole(report):
    """A report of 100 operators in which gates failed."""
    return whole_report(report, blocks=25)


def test_the_report_is_accessible_and_fits_a_phone(chromium, show, whole):
    text = report_html(whole)

    assert len(text.encode()) < 3_000_000
    assert problems_of(chromium, show(text.replace("<details>", "<details open>"))) == []


def test_a_heading_sorts_its_table_with_the_keyboard(chromium, show, whole):
    with visit(chromium, show(report_html(whole))) as seen:
        table = seen.page.locator("table", has_text="SQNR, dB").first
        column = table.locator("tbody tr td:nth-child(3)")
        table.get_by_role("button", name="SQNR, dB").press("Enter")
        rising = [float(text) for text in column.all_inner_texts() if text]
        table.get_by_role("button", name="SQNR, dB").press("Enter")
        falling = [float(text) for text in column.all_inner_texts() if text]

    assert rising == sorted(rising)
    assert falling == rising[::-1]


def test_print_shows_what_is_folded_and_cuts_nothing_off(chromium, show, whole):
    with visit(chromium, show(report_html(whole))) as seen:
        seen.page.emulate_media(media="print")
        graph = seen.page.locator(".graph").first
        inner, outer = graph.locator("svg").bounding_box(), graph.bounding_box()
        folded = seen.page.get_by_role("heading", name="Instructions by layer").locator(
            "xpath=following::details[2]//table"
        )

        assert inner["height"] <= outer["height"]
        assert folded.bounding_box()["height"] > 0


def test_the_history_is_accessible_and_fits_a_phone(chromium, show, whole):
    builds = [Entry(replace(whole, name=f"build-{day}"), f"2026-01-0{day}T00:00:00") for day in (1, 2, 3)]

    assert problems_of(chromium, show(history_html(builds))) == []


def test_the_search_is_accessible_and_fits_a_phone(chromium, show):
    assert problems_of(chromium, show(search_html(search_result(), "arm64"))) == []
