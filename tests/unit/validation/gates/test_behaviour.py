"""Stability: what has to stay as it was, and what a busy machine may move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.config import GatesConfig
from pipeline.node_parity import NodeDifference, Parity
from pipeline.validation.gates import evaluate_gates
from pipeline.validation.trend import Trend

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


FAKE = "fake-quantized Keras model"
REFERENCE = "litert 2.3.0 reference kernels, host x86_64"


def pair(other, steps, **changes):
    """A comparison with the host's LiteRT whose only differing node is off by ``steps``."""
    origin = NodeDifference(
        node=4, operator="CONV_2D", layer="block_2", tensor="t", differing_samples=1,
        largest_difference=steps, in_steps=True,
    )  # fmt: skip
    origins = (origin,) if steps else ()
    return Parity(reference="litert", other=other, samples=4, nodes=9, origins=origins, **changes)


def counterpart(steps, problem=""):
    found = pair("litert", steps, is_fake_quantized=True, problem=problem)
    return replace(found, reference=FAKE)


@pytest.mark.parametrize(
    ("pairs", "outcomes"),
    [
        ([counterpart(1), pair(REFERENCE, 2)], ["passed", "passed"]),
        ([counterpart(7), pair(REFERENCE, 1)], ["failed", "passed"]),
        ([counterpart(7), pair(REFERENCE, 9)], ["failed", "failed"]),
        ([counterpart(0), pair(REFERENCE, 9)], ["passed", "warning"]),
        ([counterpart(0, "a loop"), pair(REFERENCE, 9)], ["skipped", "failed"]),
        ([pair(REFERENCE, 9)], ["failed"]),
        ([pair("litert 2.3.0, emulated cortex-a72", 3, is_device=True)], ["failed"]),
        ([pair("tflite-runtime 2.14.0, emulated cortex-a7", 3, is_device=True)], ["failed"]),
        ([pair("tflite-runtime 2.14.0, host x86_64", 3)], ["warning"]),
    ],
)
def test_parity_fails_where_what_counts_is_off(pairs, outcomes, report):
    verdicts = evaluate_gates(replace(report, parity=tuple(pairs)), GatesConfig(enabled=("parity",)))

    assert [verdict.outcome for verdict in verdicts] == outcomes


def test_a_target_with_tflite_runtime_needs_that_of_the_host_right(report):
    off = (pair("tflite-runtime 2.14.0, host x86_64", 3),)

    assert (
        found(
            replace(report, runtime="tflite-runtime", parity=off),
            "parity (tflite-runtime 2.14.0, host x86_64)",
        ).outcome
        == "failed"
    )


def test_a_failed_parity_says_layer_node_steps_and_what_accepts_it(report):
    verdict = found(replace(report, parity=(counterpart(7),)), f"parity ({FAKE})")

    assert verdict.got == "4 CONV_2D of layer block_2: 7 steps; [gates] parity_steps = 7 accepts it"
    assert verdict.allowed == "each node within 2 steps"
    accepted = found(
        replace(report, parity=(counterpart(7),)), f"parity ({FAKE})", GatesConfig(parity_steps=7)
    )
    assert (accepted.outcome, accepted.got) == ("passed", "9 nodes within 7 steps")
