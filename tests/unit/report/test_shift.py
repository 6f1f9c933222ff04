"""What a user sees of the shift suite: verdicts, severities."""

from __future__ import annotations

import io

from rich.console import Console

from pipeline.report.shift import shift_details, shift_summary
from pipeline.validation.excess import Excess
from pipeline.validation.shift_results import SeverityResult, ShiftReport, ShiftResult


def excess(points):
    return Excess(
        baseline=80.0,
        quantized=80.0 + points,
        difference=points,
        low=points - 1,
        high=points + 1,
        excess=points,
        excess_low=points - 1,
        excess_high=points + 1,
        standard_error=0.5,
    )


def result(name, points, verdict, source="corruption", levels=(), note=""):
    return ShiftResult(
        name=name,
        source=source,
        output="",
        metric="top-1",
        samples=500,
        pooled=None if points is None else excess(points),
        verdict=verdict,
        severities=tuple(
            SeverityResult(severity=at, found=excess(found), informative=at < 5) for at, found in levels
        ),
        note=note,
    )


REPORT = ShiftReport(
    samples=500,
    margin=1.0,
    tests=3,
    shifts=(
        result("jpeg_compression", -4.5, "int8 loses more", levels=((1, -1.25), (5, -7.75))),
        result("fog", None, "skipped", note="severity 1: the output is not finite"),
        result("[red]cat x5", 0.1, "as float does", "class prior"),
    ),
    left_out=("saturate: images of one channel have no saturation",),
)


def shown(parts, color=None):
    stream = io.StringIO()
    console = Console(file=stream, width=110, color_system=color, force_terminal=bool(color), markup=False)
    for part in parts:
        console.print(part)
    return stream.getvalue()


def test_the_summary_counts_verdicts_and_names_what_loses_more():
    text = shown([shift_summary(REPORT)])
    assert "int8 loses more" in text
    assert "jpeg compression: -4.50 [-5.50, -3.50] points beyond its clean loss" in text


def test_the_details_give_every_shift_and_severity():
    text = shown(shift_details(REPORT))
    assert "-1.25" in text
    assert "(-7.75)" in text  # the float model itself fails there
    assert "fog: severity 1: the output is not finite" in text
    assert "left out: saturate" in text
    assert "[red]cat x5" in text
    assert max(map(len, text.splitlines())) <= 110


def test_a_terminal_gets_colour():
    assert "\x1b[" in shown(shift_details(REPORT), color="standard")


def test_a_report_without_shifts_is_no_table():
    empty = ShiftReport(samples=0, margin=1.0, tests=0, shifts=())
    assert shown(shift_details(empty)) == ""
