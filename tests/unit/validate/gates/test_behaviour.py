"""Stability: what has to stay as it was, and what a busy machine may move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.config import GatesConfig
from pipeline.validate.gates import evaluate_gates
from pipeline.validate.trend import Trend

ALLOWED = GatesConfig()


def found(report, gate, allowed=ALLOWED):
    """The one verdict of that gate."""
    (verdict,) = [verdict for verdict in evaluate_gates(report, allowed) if str(verdict) == gate]
    return verdict


def outcomes(report):
    return {str(verdict): verdict.outcome for verdict in evaluate_gates(report, ALLOWED)}


def with_run(report, index, **changes):
    soaks = list(report.stability.soaks)
    soaks[index] = replace(soaks[index], **changes)
    return replace(report, stability=replace(report.stability, soaks=tuple(soaks)))


@pytest.mark.parametrize(
    "changes",
    [
        {"changed_outputs": 1},
        {"output_sha256": "00" * 32},
        {"growth": Trend(value=2000.0, low=1900.0, high=2100.0)},
        {"growth": Trend(value=90.0, low=80.0, high=100.0)},
        {"latency": Trend(value=0.2, low=0.1, high=0.3), "control": Trend(value=0.0, low=-0.01, high=0.01)},
        {"leaked_files": 1},
    ],
)
def test_whatever_does_not_stay_as_it_was_is_unstable(changes, report):
    judged = outcomes(with_run(report, 1, **changes))

    assert (judged["stability (1 thread)"], judged["stability (2 threads)"]) == ("passed", "failed")


@pytest.mark.parametrize(
    ("low", "control_low", "control_high", "outcome"),
    [
        (0.04, -0.01, 0.01, "passed"),
        (0.04, -0.3, 0.4, "passed"),
        (0.07, -0.01, 0.01, "failed"),
        (0.07, -0.03, 0.01, "inconclusive"),
        (0.072, -0.02, 0.5, "inconclusive"),
        (0.72, -0.02, 0.5, "failed"),
    ],
)
@pytest.mark.parametrize("inconclusive", ["warn", "fail"])
def test_a_slow_down_fails_only_where_it_is_more_than_the_control_moved(
    low, control_low, control_high, outcome, inconclusive, report
):
    slower = with_run(
        report,
        0,
        latency=Trend(value=low + 0.1, low=low, high=low + 0.2),
        control=Trend(value=0.0, low=control_low, high=control_high),
    )
    verdict = found(slower, "stability (1 thread)", GatesConfig(inconclusive=inconclusive))

    assert verdict.outcome == outcome
    assert ("where the control moved by up to" in verdict.got) == (outcome == "inconclusive")


@pytest.mark.parametrize(
    ("slope", "outcome"),
    [
        ({"value": 60.0, "low": 59.0, "high": 61.0}, "passed"),
        ({"value": 900.0, "low": 10.0, "high": 1800.0}, "passed"),
        ({"value": 70.0, "low": 65.0, "high": 75.0}, "failed"),
    ],
)
def test_memory_that_is_shown_to_grow_beyond_the_limit_fails(slope, outcome, report):
    assert outcomes(with_run(report, 0, growth=Trend(**slope)))["stability (1 thread)"] == outcome
