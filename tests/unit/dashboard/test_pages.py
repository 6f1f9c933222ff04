"""Pages in a real browser: complete, accessible, live, and never a way for a file to run a script."""

from __future__ import annotations

import json

import pytest
from browser import problems_of, visit
from library import NEVER_SILENT, add_running

pytestmark = pytest.mark.xdist_group("browser")

PAGES = (
    "",
    "build?at=build-3",
    "build?at=running",
    "build?at=damaged",
    "compare?build=build-1&build=rejected",
    "searches",
    "search?at=searches/second",
    "releases",
    "devices",
)


@pytest.mark.parametrize("path", PAGES)
def test_no_page_overflows_is_empty_complains_or_excludes_anyone(chromium, address, path):
    assert problems_of(chromium, address + path) == []


def test_the_first_page_has_every_build_with_its_state(chromium, address):
    with visit(chromium, address) as seen:
        states = {
            row.locator(".why").first.inner_text(): row.locator("td").nth(3).inner_text().split("\n")[0]
            for row in seen.page.locator("tbody tr").all()
        }
        reasons = seen.page.locator("tbody").inner_text()
    assert states["build-1"] == "passed"
    assert states["rejected"] == "failed"
    assert states["running"] == "running"
    assert states["killed"] == "silent"
    assert states["interrupted"] == "interrupted"
    assert states["error"] == "error"
    assert states["damaged"] == "broken"
    assert "not JSON" in reasons


def test_two_chosen_builds_are_compared_figure_by_figure(chromium, address):
    with visit(chromium, address) as seen:
        for key in ("build-1", "rejected"):
            seen.page.locator(f'input[value="{key}"]').check()
        seen.page.get_by_role("button", name="Compare two").click()
        text = seen.page.locator("main").inner_text()
        assert seen.problems == []
    assert "first\tsecond\tchange" in text.replace(" \t", "\t").lower() or "second" in text
    assert "-3.20 points" in text
    assert "channels80-qat8" in text


def test_a_running_build_is_followed_without_a_click_to_its_end(chromium, address, folder, report):
    add_running(folder / "followed", report.name, NEVER_SILENT)
    with visit(chromium, f"{address}build?at=followed") as seen:
        seen.page.get_by_text("1,240 of 2,000 steps").wait_for()
        events = folder / "followed" / "events.jsonl"
        line = json.loads(events.read_text().splitlines()[-1]) | {"done": 1900}
        with events.open("a") as file:
            file.write(json.dumps(line) + "\n")
        seen.page.get_by_text("1,900 of 2,000 steps").wait_for()
        end = {"event": "build_finished", "stage": "", "outcome": "error", "error": "StageError"}
        with events.open("a") as file:
            file.write(json.dumps({"time": NEVER_SILENT.isoformat(), "seconds": 5.0} | end) + "\n")
        seen.page.locator(".badge", has_text="error").wait_for()
        assert seen.problems == []


def test_names_from_files_run_no_script(chromium, address):
    said = []
    with visit(chromium, address) as seen:
        seen.page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        seen.page.reload()
        links = [
            link.get_attribute("href")
            for link in seen.page.locator("tbody a").all()
            if "onerror" in link.inner_text()
        ]
        assert len(links) == 2
        for link in links:
            seen.page.goto(address.rstrip("/") + link)
            if seen.page.get_by_role("link", name="report.html").count():
                seen.page.get_by_role("link", name="report.html").click()
                assert "<script>alert(1)" not in seen.page.content().replace("&lt;", "")
        assert seen.problems == []
        assert said == []
