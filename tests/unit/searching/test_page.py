"""The result of a search as a page and as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pages import HOSTILE, Page, text_of
from search_results import OBJECTIVES, REFUSED, STOPPED, outcome, search_result

from pipeline.report.drawing import linear_ticks
from pipeline.searching.front import BASELINE
from pipeline.searching.page import best_ratios, search_html, stage_times, write_result
from pipeline.searching.plots import FRAME, Point, scatter
from pipeline.searching.report import to_dict
from pipeline.searching.result import front_folder
from pipeline.validation.report import write_report


@pytest.fixture(scope="module")
def found():
    return search_result()


def rows(html):
    """The rows of the table of trials."""
    table = html.split("<h2>Trials</h2>")[1].split("</table>")[0]
    return table.split("<tr")[2:]


def places(html, tag):
    """The coordinates of the points in all plots."""
    numbers = [re.findall(rf'\b{name}="(-?[\d.]+)"', html) for name in tag]
    return list(zip(*[map(float, each) for each in numbers], strict=True))


def test_the_page_fetches_nothing_and_has_every_section(found):
    page = Page(search_html(found, "arm64"))

    assert "script" not in page.tags
    assert {"svg", "polyline", "circle", "path"} <= page.tags
    assert page.headings == ["Search for arm64", "Chosen", "Trade-offs", "Trials", "Time of stages"]


def test_the_page_has_every_trial_with_its_state_and_reason(found):
    html = search_html(found, "arm64")
    table = rows(html)

    assert len(table) == len(found.outcomes)
    for number, row in zip(sorted(found.outcomes), table, strict=True):
        assert f">{'yours' if number == BASELINE else number}</td>" in row
        assert found.outcomes[number].recipe in row
    assert "stopped early" in table[6]
    assert STOPPED in table[6]
    assert REFUSED.replace("'", "&#39;") in table[10]
    assert "gate accuracy failed: -1.31 points" in text_of(Page(html))


def test_the_page_says_what_was_chosen_and_what_it_costs(found):
    text = text_of(Page(search_html(found, "arm64")))
    figures, own = found.outcomes[found.chosen].figures, found.outcomes[BASELINE].figures

    assert f"Chosen {found.outcomes[found.chosen].recipe} The cheapest that passed every gate, of 3" in text
    assert f"{figures.download_bytes / own.download_bytes:.2f}x" in text
    assert f"{figures.score - own.score:+.2f} points" in text
    assert "passed" in text


def test_a_search_without_a_candidate_has_failed(found):
    none = replace(found, chosen=None, front=(), validated=())
    text = text_of(Page(search_html(none, "arm64")))

    assert "Search for arm64 FAILED" in text
    assert "Every complete trial is beyond a limit." in text


def test_a_search_whose_candidates_failed_says_how_many_were_validated(found):
    failed = replace(found, chosen=None, validated=found.validated[:1])

    assert "No candidate passed every gate; validated: 1." in text_of(Page(search_html(failed, "arm64")))


def test_a_running_search_says_how_far_it_is(found):
    running = replace(found, chosen=None, validated=())
    page = Page(search_html(running, "arm64", planned=90))

    assert "50 more trials will follow." in text_of(page)
    assert "Chosen" not in page.headings


def test_recipes_and_reasons_stay_text(found):
    hostile = outcome(HOSTILE, "refused", HOSTILE)
    chosen = replace(found.outcomes[found.chosen], recipe=HOSTILE)
    outcomes = found.outcomes | {99: hostile, found.chosen: chosen}
    page = Page(search_html(replace(found, outcomes=outcomes), HOSTILE))

    assert "script" not in page.tags
    assert text_of(page).count(HOSTILE) >= 5


@pytest.mark.parametrize("objectives", [OBJECTIVES, ("score", "download"), ("memory",)])
def test_there_is_a_plot_of_download_and_of_each_device_whatever_is_optimized(objectives):
    html = search_html(search_result(objectives=objectives), "arm64")

    for name in ("download in bytes", "rpi4 instructions", "rpi5 instructions"):
        assert f"Score over {name}" in html


def test_every_point_lies_within_its_plot(found):
    html = search_html(found, "arm64")
    circles = places(html, ("cx", "cy"))

    assert len(circles) > 30
    assert all(0 <= x <= FRAME.width and 0 <= y <= FRAME.height for x, y in circles)
    assert "nan" not in html


@pytest.mark.parametrize("trials", [0, 1, 2, 200])
def test_a_search_of_any_length_has_a_page(trials):
    found = search_result(max(trials, 20))
    outcomes = {number: each for number, each in found.outcomes.items() if number < trials}
    front = tuple(number for number in found.front if number in outcomes)
    few = replace(found, outcomes=outcomes, front=front, validated=(), chosen=None)

    assert len(rows(search_html(few, "arm64"))) == trials + 1


def test_the_page_of_a_long_search_has_the_front_and_the_newest_trials(found, monkeypatch):
    monkeypatch.setattr("pipeline.searching.page.MAX_SHOWN", 20)
    html = search_html(found, "arm64")
    names = {re.search(r'class="n">(\w+)<', row)[1] for row in rows(html)}

    front = {"yours" if number == BASELINE else str(number) for number in found.front}
    assert {"yours", "39", *front} <= names
    assert len(names) <= 20 + 3  # with those that were validated
    assert f"{len(found.outcomes) - len(names)} more trials are in search.json" in html


def test_a_search_whose_own_settings_gave_no_model_has_a_page_without_ratios(found):
    outcomes = found.outcomes | {BASELINE: outcome(state="refused", reason="no")}
    html = search_html(replace(found, outcomes=outcomes), "arm64")

    assert best_ratios(replace(found, outcomes=outcomes)) == []
    assert "Lowest cost so far" not in html
    assert "Trade-offs" in html


def test_the_lowest_cost_only_falls_and_ends_with_the_cheapest_candidate(found):
    ratios = best_ratios(found)

    assert len(ratios) == len(found.outcomes)
    assert ratios[0] == 1.0
    assert ratios == sorted(ratios, reverse=True)


def test_reuse_counts_as_seconds_saved(found):
    times = {each.stage: each for each in stage_times(found.outcomes)}

    assert times["load_model"].runs == 1
    assert times["load_model"].saved == 14.0 * times["load_model"].reused


def test_costs_that_span_more_than_a_factor_of_ten_are_on_a_logarithmic_axis():
    points = [Point(cost, 90.0 + place, "front", "", "") for place, cost in enumerate((1e3, 1e4, 1e5))]
    plot = scatter("download", "bytes", points)
    first, second, third = (dot.x for dot in plot.dots)

    assert second - first == pytest.approx(third - second, abs=0.2)
    assert [tick.text for tick in plot.columns] == ["1k", "3k", "10k", "30k", "100k"]


def test_a_score_far_below_those_of_candidates_is_drawn_at_the_lower_edge():
    points = [Point(1e3, 20.0, "infeasible", "", ""), *(Point(2e3, y, "front", "", "") for y in (90, 92))]
    plot = scatter("download", "bytes", points)

    assert [dot.below for dot in plot.dots] == [True, False, False]
    assert plot.below == 1
    assert plot.dots[0].y == plot.frame.base


def test_equal_scores_have_an_axis_that_ends_at_100():
    plot = scatter("download", "bytes", [Point(x, 100.0, "front", "", "") for x in (1e3, 2e3)])

    assert max(float(tick.text) for tick in plot.rows) == 100


@pytest.mark.parametrize(("low", "high"), [(0, 1), (92.3, 94.2), (3451, 9032), (0.9999, 1.0001)])
def test_ticks_are_few_and_round(low, high):
    ticks = linear_ticks(low, high)

    assert 2 <= len(ticks) <= 6
    assert low <= ticks[0] + 1e-9
    assert ticks[-1] <= high + 1e-9


def test_page_and_values_are_written_whole(found, tmp_path):
    write_result(replace(found, folder=tmp_path), "arm64")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["search.html", "search.json"]
    kept = json.loads((tmp_path / "search.json").read_text())
    assert kept == json.loads(json.dumps(to_dict(replace(found, folder=Path(tmp_path)))))
    assert len(kept["trials"]) == len(found.outcomes)


def test_the_trade_offs_are_on_the_pages_of_validated_candidates(found, report, tmp_path):
    searched = replace(found, folder=tmp_path)
    for validated in searched.validated:
        folder = tmp_path / front_folder(validated.number) / "report" / report.name
        folder.mkdir(parents=True)
        write_report(report, folder / "report.json")

    write_result(searched, "arm64")

    for validated in searched.validated:
        page = tmp_path / front_folder(validated.number) / "report" / report.name / "report.html"
        read = Page(page.read_text(encoding="utf-8"))
        assert "Trade-offs" in read.headings
        assert f"trial {validated.number} of the search" in text_of(read).replace(
            "your own settings", "trial -1"
        )
