"""Two builds, figure by figure."""

from __future__ import annotations

from dataclasses import replace

from library import changed

from pipeline.dashboard.comparing import Change, compare
from pipeline.dashboard.drawing import line
from pipeline.validation.report import Verdict


def test_changes_have_a_direction_that_says_what_is_better(report):
    other = changed(report, "other", 0.5, -1.5)
    figures = {each.name: each for each in compare(report, other).figures}
    assert figures["top-1, points"] == Change("top-1, points", "92.05", "90.55", "-1.50", "worse")
    assert figures["rpi5 instructions"].change == "-50.0 %"
    assert figures["rpi5 instructions"].kind == "better"
    assert figures["loss, nats"].change == "equal"


def test_figures_and_gates_that_one_build_lacks_are_left_empty(report):
    verdict = Verdict(gate="accuracy", outcome="failed", got="-3 points", allowed="-1 points")
    other = replace(report, devices=(), verdicts=(verdict,))
    found = compare(report, other)
    assert Change("rpi4 instructions", "4.10M", "") in found.figures
    assert Change("accuracy", "", "failed: -3 points") in found.gates


def test_only_facts_that_differ_are_listed(report):
    other = replace(report, recipe="weights50-qat8", tools={"numpy": "2.0", "keras": "3.15"})
    assert [each.name for each in compare(report, other).facts] == ["recipe", "keras", "numpy"]


def test_a_drawing_leaves_out_what_is_no_number(report):
    drawn = line("score", [("a", 1.0), None, ("b", float("nan")), ("c", 3.0)])
    assert [words for *_, words in drawn.dots] == ["a: 1.00", "c: 3.00"]
    assert drawn.points == "10.0,110.0 450.0,10.0"
    assert line("score", [("a", 1.0), None]) is None
