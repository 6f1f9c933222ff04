"""Drawings of trainings: lines stay inside of their frame, and layers are matched by name."""

from __future__ import annotations

from dataclasses import replace

from pipeline.choices import Baselines, Candidate, Repair
from pipeline.report.html import report_html
from pipeline.report.text import report_text
from pipeline.report.trainings import FRAME, curve_points, distributions, outline_points
from pipeline.training_history import Curve, Histogram, TrainingHistory


def histogram(layer, *counts):
    return Histogram(layer=layer, of="weights", low=-1.0, high=1.0, counts=counts)


WIDTH, HEIGHT, MARGIN = FRAME.width, FRAME.height, FRAME.left
TRAININGS = (
    TrainingHistory(
        name="prune",
        curves=(Curve(name="loss", values=(0.5, 0.25, 0.125)),),
        ranges=(),
        before=(histogram("conv", 1, 4, 1), histogram("gone", 1, 1, 1)),
        after=(histogram("conv", 0, 9, 0),),
    ),
    TrainingHistory(
        name="quantization-aware",
        curves=(Curve(name="loss", values=(0.1,)),),
        ranges=(),
        before=(histogram("conv", 0, 9, 0),),
        after=(histogram("conv", 2, 9, 2), histogram("new", 1, 1, 1)),
    ),
)
BASELINES = Baselines(metric="accuracy", given=71.6, fine_tuned=87.9, held_out_gain=13.5, low=11.0, high=16.0)
CANDIDATE = Candidate(
    name="qat", format="int8", size_bytes=94_000, download_bytes=35_000, metric="accuracy", samples=1100,
    score=90.0, difference=(-1.0, -2.0, -0.1), within_limits=True, chosen=False, reason="measurably worse",
)  # fmt: skip
CANDIDATES = (
    CANDIDATE,
    replace(CANDIDATE, name="ptq", score=91.0, difference=(0.0, 0.0, 0.0), chosen=True, reason=""),
    replace(CANDIDATE, name="too large", within_limits=False, reason="beyond [gates] size_ratio"),
)


def points(text):
    return [tuple(map(float, point.split(","))) for point in text.split()]


def test_a_curve_goes_from_edge_to_edge_and_its_highest_value_is_at_the_top():
    assert points(curve_points([1, 3, 2])) == [
        (MARGIN, HEIGHT - MARGIN),
        (WIDTH / 2, MARGIN),
        (WIDTH - MARGIN, HEIGHT / 2),
    ]


def test_constant_values_and_a_single_one_are_drawn_without_an_error():
    assert {y for _, y in points(curve_points([2, 2]))} == {HEIGHT - MARGIN}
    assert len(points(curve_points([2]))) == 1
    assert {y for _, y in points(outline_points(histogram("empty", 0, 0)))} == {HEIGHT - MARGIN}


def test_layers_are_shown_before_the_first_and_after_the_last_training():
    assert distributions(TRAININGS) == [
        ("conv", "weights", histogram("conv", 1, 4, 1), histogram("conv", 2, 9, 2))
    ]
    assert distributions(()) == []


def test_the_page_shows_trainings_and_candidates(report):
    page = report_html(replace(report, trainings=TRAININGS, baselines=BASELINES, candidates=CANDIDATES))

    assert "<h2>Training</h2>" in page
    assert page.count("<polyline") == 2 + 2 + len(("float", "int8"))
    assert "float accuracy on test samples: 71.60 as given, 87.90 fine-tuned" in page
    assert "-1.00 [-2.00, -0.10]" in page


def test_the_text_lists_the_candidates_and_says_which_was_released(report):
    text = report_text(replace(report, baselines=BASELINES, candidates=CANDIDATES))
    row = next(line for line in text.splitlines() if line.startswith("ptq: "))

    assert "Quantized models, on 1,100 held-out samples" in text
    assert row.split() == ["ptq:", "released", "91.00", "+0.00", "[+0.00,", "+0.00]", "35,000"]
    assert "measurably worse" in text
    assert "beyond [gates] size_ratio" in text


def test_repairs_are_shown_with_what_each_gained_or_why_it_was_left_out(report):
    applied = Repair(name="rounding", before_db=24.06, after_db=26.3, samples=512, applied=True)
    other = replace(applied, name="equalization", applied=False, reason="no measurable gain")
    shown = replace(report, repairs=(applied, other))

    text, page = report_text(shown), report_html(shown)

    rows = [line.split() for line in text.splitlines() if line.startswith(("rounding", "equalization"))]
    assert rows == [
        ["rounding", "24.1", "26.3", "applied"],
        ["equalization", "24.1", "26.3", "no", "measurable", "gain"],
    ]
    assert "SQNR on 512 training samples" in " ".join(text.split())
    assert '<td class="n">26.3</td><td>applied</td>' in page
