"""The report as a page: complete, of its own, and safe whatever the names in it are."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import pytest
from pages import HOSTILE, Page, text_of

from pipeline.report.html import report_html, write_html
from pipeline.tasks.comparison import ClassScores, Confidences, Confusion, FlippedSample, Scores
from pipeline.validation.breakdown import Breakdown, OperatorCost
from pipeline.validation.excess import Excess
from pipeline.validation.report import RuntimeAccuracy, Verdict
from pipeline.validation.shift_results import SeverityResult, ShiftReport, ShiftResult


def classes_of(*names):
    scores = Scores(recall=0.5, precision=0.5, f1=0.5)
    return tuple(ClassScores(name=name, support=10, baseline=scores, quantized=scores) for name in names)


def judged(report, *outcomes):
    verdicts = tuple(
        Verdict(gate=f"gate {i}", outcome=outcome, got="1", allowed="2") for i, outcome in enumerate(outcomes)
    )
    return replace(report, verdicts=verdicts)


def test_it_begins_with_the_answer_and_what_failed(report):
    page = Page(report_html(judged(report, "passed", "warning", "failed")))

    assert page.headings[:4] == ["tiny-1.0-arm64", "Gates", "Float beside int8", "Accuracy"]
    text = text_of(page)
    assert "FAILED 1 failed , 1 warning , 1 passed" in text
    assert text.index("gate 2") < text.index("gate 1") < text.index("gate 0")


def test_figures_and_intervals_are_there(report):
    page = Page(report_html(report))
    text = text_of(page)

    assert {"svg", "circle", "line"} <= page.tags
    assert "318,004 95,712 3.32" in text
    assert "-0.10 points [-0.45, +0.25]" in text
    assert "rpi5 core" in text
    assert "left 1,010 93.1% 92.7%" in text


def test_nothing_is_fetched_and_one_script_runs_which_the_policy_names(report):
    text = report_html(report)

    assert not re.search(r"https?:|url\(|@import|<link|<iframe", text)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    assert policy in text


def flipped(**changes):
    return FlippedSample(
        **{"sample": 7, "label": "up", "baseline": ("up", 0.9), "quantized": ("down", 0.6)} | changes
    )


def test_confusions_are_drawn_with_their_difference(report):
    confusion = Confusion(baseline=((9, 1), (0, 10)), quantized=((7, 3), (1, 9)))
    found = replace(report.accuracy[0], confusion=confusion, classes=classes_of("up", HOSTILE))
    text = report_html(replace(report, accuracy=(found,)))
    page = Page(text)

    assert "int8 minus float" in page.words
    assert f"up as {HOSTILE}: 3 of 10" in page.words
    assert f"up as {HOSTILE}: +2" in page.words
    assert text.count('class="cell-worse"') == 4
    assert text.count('class="cell-better"') == 0


def test_more_classes_than_can_be_read_have_no_matrix(report):
    counts = tuple(tuple(int(x == y) for x in range(21)) for y in range(21))
    found = replace(
        report.accuracy[0],
        confusion=Confusion(baseline=counts, quantized=counts),
        classes=classes_of(*map(str, range(21))),
    )

    assert "int8 minus float" not in report_html(replace(report, accuracy=(found,)))


def test_samples_that_flipped_are_shown_with_both_answers(report):
    flips = (flipped(picture="iVBORw0KGgo="), flipped(sample=8, series=((0.0, 2.0, 1.0),), label=HOSTILE))
    text = report_html(replace(report, accuracy=(replace(report.accuracy[0], flipped=flips),)))
    words = text_of(Page(text))

    assert "sample 7: up float up 90 % int8 down 60 %" in words
    assert f"sample 8: {HOSTILE}" in words
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in text
    assert 'points="2.0,70.0 36.0,2.0 70.0,36.0"' in text


def test_confidences_of_both_models_are_drawn_on_one_scale(report):
    confidences = Confidences(baseline=(0, 4), quantized=(1, 1))
    text = report_html(replace(report, accuracy=(replace(report.accuracy[0], confidences=confidences),)))

    assert 'class="base" points="6.0,78.0 75.0,78.0 75.0,6.0 144.0,6.0"' in text
    assert 'class="line" points="6.0,42.0 75.0,42.0 75.0,42.0 144.0,42.0"' in text


def test_names_are_escaped(report):
    classes = (replace(report.accuracy[0].classes[0], name=HOSTILE),)
    hostile = replace(
        report,
        name=HOSTILE,
        notes=(HOSTILE,),
        accuracy=(replace(report.accuracy[0], output=HOSTILE, note=HOSTILE, classes=classes),),
        runtimes=(*report.runtimes, RuntimeAccuracy(runtime=HOSTILE, problem=HOSTILE)),
        tools={HOSTILE: HOSTILE},
        verdicts=(Verdict(gate=HOSTILE, outcome="failed", got=HOSTILE, allowed=HOSTILE),),
    )

    page = Page(report_html(hostile))

    assert HOSTILE in page.words
    assert "49" not in page.headings[0]


def test_control_characters_are_shown_as_escapes(report):
    text = report_html(replace(report, notes=("a\x1b[31mb\u202ec",)))

    assert r"a\x1b[31mb\u202ec" in text


@pytest.mark.parametrize(
    "missing",
    [{"baseline": None, "latency": None, "accuracy": ()}, {"devices": ()}, {"verdicts": ()}],
)
def test_what_was_not_measured_is_left_out(report, missing):
    page = Page(report_html(replace(report, **missing)))

    assert ("Accuracy" in page.headings) == ("accuracy" not in missing)
    assert "Stability" in " ".join(page.headings)
    assert ("emulated instructions, rpi5" in page.words) == ("devices" not in missing)


def test_of_many_classes_those_that_lose_most_are_shown(report):
    found = report.accuracy[0]
    worst = found.classes[0]
    good = replace(found.classes[1], quantized=found.classes[1].baseline)
    many = tuple(replace(good, name=f"class {i}") for i in range(80))
    page = Page(report_html(replace(report, accuracy=(replace(found, classes=(*many, worst)),))))

    text = text_of(page)
    assert "The 50 of 81 that lose most recall" in text
    assert " left " in text
    assert "class 79" not in text


def test_operators_have_bars_of_their_share(report):
    rows = tuple(
        OperatorCost(
            index=index,
            op="CONV_2D",
            layer=HOSTILE,
            placement="builtin",
            macs=macs,
            instructions={},
            load_bytes={},
            store_bytes={},
            host_us=None,
        )
        for index, macs in enumerate((3, 1))
    )
    costs = Breakdown(operators=rows, devices=(), host=None)

    text = report_html(replace(report, operators=costs))

    assert "width:100.0%" in text
    assert "width:33.3%" in text
    assert "75.0% 3 multiply-accumulates" in text_of(Page(text))


def test_shifts_are_a_table_of_shift_by_severity(report):
    def excess(points):
        return Excess(
            baseline=90,
            quantized=90 + points,
            difference=points,
            low=points - 1,
            high=points + 1,
            excess=points,
            excess_low=points - 1,
            excess_high=points + 1,
            standard_error=0.5,
        )

    shift = ShiftResult(
        name="motion_blur",
        source="corruption",
        output="",
        metric="top-1",
        samples=500,
        pooled=excess(-3.0),
        verdict="int8 loses more",
        severities=(
            SeverityResult(severity=1, found=excess(-0.5)),
            SeverityResult(severity=4, found=excess(-5.5)),
            SeverityResult(severity=5, found=excess(0.0), informative=False),
        ),
    )
    found = ShiftReport(samples=500, margin=1.0, tests=1, shifts=(shift,), left_out=(HOSTILE,))

    text = report_html(replace(report, shift=found))

    assert "motion blur corruption int8 loses more -3.00 -0.50 -5.50 no use" in text_of(Page(text))
    assert "no use" in text
    assert re.search(r'class="n worse3">-5.50', text)
    assert "severity 1: float 90.0, int8 89.5; severity 4: float 90.0, int8 84.5" in text
    assert 'class="line" points="6.0,12.5 109.5,78.0 144.0,6.0"' in text


def test_it_is_written_as_utf8(report, tmp_path):
    write_html(replace(report, notes=("µ",)), tmp_path / "report.html")

    assert "µ" in (tmp_path / "report.html").read_text(encoding="utf-8")
