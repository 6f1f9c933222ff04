"""Stability as a person reads it."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from pipeline.fault import Fault
from pipeline.report.stability import stability_tables
from pipeline.validation.stability import SoakResult, StabilityReport
from pipeline.validation.trend import Trend


def run_of(threads: int, **changes: Any) -> SoakResult:
    facts = {
        "runtime": "litert",
        "threads": threads,
        "inferences": 1000,
        "seconds": 1.5,
        "changed_outputs": 0,
        "output_sha256": "a",
        "growth": Trend(value=0.0, low=0.0, high=0.0),
        "latency": Trend(value=0.012, low=-0.01, high=0.03),
        "control": Trend(value=0.002, low=-0.02, high=0.01),
        "leaked_files": 0,
    }
    return SoakResult(**(facts | changes))


def text_of(*soaks: SoakResult, faults: tuple[Fault, ...] = ()) -> str:
    console = Console(width=110)
    with console.capture() as captured:
        for part in stability_tables(StabilityReport(soaks=soaks, faults=faults)):
            console.print(part)
    return captured.get()


def test_a_long_run_shows_both_slopes_with_their_intervals():
    text = text_of(run_of(1), run_of(2, latency=None))
    assert "+1.2% (-1.0 to +3.0)" in text
    assert "+0.0 (+0.0 to +0.0)" in text
    assert "skipped" in text
    assert "Faults" not in text


def test_what_is_wrong_is_named():
    text = text_of(run_of(1), run_of(2, output_sha256="b"), run_of(4, changed_outputs=7, leaked_files=3))
    assert "all changed" in text
    assert "7 changed" in text
    assert "3 left open" in text


def test_each_fault_is_a_row():
    fault = Fault(environment="host, one core", action="inference", outcome="other outputs", passed=False)
    text = text_of(run_of(1), faults=(fault,))
    assert all(words in text for words in ("host, one core", "inference", "other outputs", "FAILED"))


def test_no_line_is_too_wide():
    fault = Fault(environment="host " * 9, action="inference " * 5, outcome="refused " * 20, passed=True)
    assert max(map(len, text_of(run_of(1), faults=(fault,)).splitlines())) <= 110
