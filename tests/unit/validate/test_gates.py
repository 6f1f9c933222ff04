"""Gates: on what evidence each one passes, fails, warns or says that it cannot tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.config import GatesConfig
from pipeline.errors import ConfigError
from pipeline.validate import gates
from pipeline.validate.gates import judge

ALLOWED = GatesConfig()


def outcomes(report, allowed=ALLOWED):
    return {verdict.gate: verdict.outcome for verdict in judge(report, allowed)}


def with_device(report, index, **changes):
    devices = list(report.devices)
    devices[index] = replace(devices[index], **changes)
    return replace(report, devices=tuple(devices))


def with_run(report, index, **changes):
    stability = list(report.stability)
    stability[index] = replace(stability[index], **changes)
    return replace(report, stability=tuple(stability))


def with_accuracy(report, difference, low, high):
    found = replace(report.accuracy, difference_points=difference, low_points=low, high_points=high)
    return replace(report, accuracy=found)


def test_a_good_model_passes_every_gate(report):
    assert set(outcomes(report).values()) == {"passed"}
    assert set(outcomes(report)) == {
        "accuracy",
        "full integer",
        "size",
        "XNNPACK int8",
        "same bits on rpi4",
        "same bits on rpi5",
        "stable on 1 thread",
        "stable on 2 threads",
        "instructions on rpi4",
        "instructions on rpi5",
    }


def test_every_verdict_says_what_it_got_and_what_it_allows(report):
    assert all(verdict.got and verdict.allowed for verdict in judge(report, ALLOWED))


@pytest.mark.parametrize(
    ("difference", "low", "high", "outcome"),
    [
        (0.3, -0.9, 1.5, "passed"),
        (-0.5, -0.99, 0.0, "passed"),
        (-0.5, -1.0, 0.0, "inconclusive"),
        (0.0, -3.0, 3.0, "inconclusive"),
        (-1.0, -2.0, 0.0, "failed"),
        (-5.0, -6.0, -4.0, "failed"),
    ],
)
def test_accuracy_passes_only_where_the_whole_interval_is_within_the_margin(
    difference, low, high, outcome, report
):
    assert outcomes(with_accuracy(report, difference, low, high))["accuracy"] == outcome


def test_the_margin_is_the_users(report):
    drop = with_accuracy(report, -1.5, -1.9, -1.1)

    assert outcomes(drop)["accuracy"] == "failed"
    assert outcomes(drop, GatesConfig(accuracy_drop_points=2))["accuracy"] == "passed"


def test_too_few_samples_fail_where_the_user_wants_certainty(report):
    unsure = with_accuracy(report, -0.5, -1.2, 0.2)

    assert outcomes(unsure)["accuracy"] == "inconclusive"
    assert outcomes(unsure, GatesConfig(inconclusive="fail"))["accuracy"] == "failed"


def test_without_data_accuracy_is_not_judged(report):
    assert outcomes(replace(report, accuracy=None))["accuracy"] == "not judged"


def test_a_device_with_bits_of_its_own_is_judged_on_its_own_accuracy(report):
    worse = replace(report.accuracy, difference_points=-9.0, low_points=-11.0, high_points=-7.0)
    found = outcomes(with_device(report, 0, differing_samples=3, largest_difference=2.0, accuracy=worse))

    assert (found["accuracy"], found["accuracy on rpi4"]) == ("passed", "failed")
    assert "accuracy on rpi5" not in found


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        ({"float_operators": ("3 SOFTMAX", "4 ADD")}, "2 float operators, first 3 SOFTMAX"),
        ({"integer_io": False}, "a float input or output"),
    ],
)
def test_anything_float_fails(changes, got, report):
    broken = replace(report, quantized=replace(report.quantized, **changes))
    verdict = next(v for v in judge(broken, ALLOWED) if v.gate == "full integer")

    assert (verdict.outcome, verdict.got) == ("failed", got)


def test_size_is_a_share_of_the_float_file(report):
    assert outcomes(report, GatesConfig(size_ratio=0.31))["size"] == "passed"
    assert outcomes(report, GatesConfig(size_ratio=0.30))["size"] == "failed"
    assert "size" not in outcomes(replace(report, baseline=None))


def test_a_file_of_few_kilobytes_that_is_not_smaller_is_a_warning(report):
    tiny = replace(report.quantized, size_bytes=2360)
    small = replace(report, quantized=tiny, baseline=replace(tiny, size_bytes=2212))
    assert outcomes(small)["size"] == "warning"


def test_a_host_runtime_that_cannot_run_the_model_is_a_warning(report):
    refused = replace(report.runtimes[-1], runtime="tflite-runtime 2.14.0, host", problem="no such operator")
    assert outcomes(replace(report, runtimes=(refused,)))["tflite-runtime 2.14.0"] == "warning"


def test_xnnpack_is_a_share_of_the_arithmetic_on_the_host(report):
    assert outcomes(report, GatesConfig(xnnpack_share=0.96))["XNNPACK int8"] == "passed"
    assert outcomes(report, GatesConfig(xnnpack_share=0.97))["XNNPACK int8"] == "failed"


@pytest.mark.parametrize(
    ("steps", "most", "outcome"),
    [(1.0, 1, "warning"), (2.0, 1, "failed"), (1.0, 0, "failed"), (2.0, 2, "warning")],
)
def test_differing_bits_warn_within_the_allowed_steps_and_fail_beyond(steps, most, outcome, report):
    differing = with_device(
        report, 1, differing_samples=1, largest_difference=steps, accuracy=report.accuracy
    )
    allowed = GatesConfig(bit_difference_steps=most)
    verdict = next(v for v in judge(differing, allowed) if v.gate == "same bits on rpi5")

    assert verdict.outcome == outcome
    assert "63 of 64 equal" in verdict.got
    assert outcomes(differing, allowed)["same bits on rpi4"] == "passed"


@pytest.mark.parametrize(
    "changes",
    [
        {"changed_outputs": 1},
        {"output_sha256": "00" * 32},
        {"growth_bytes_per_inference": 2000.0},
        {"leaked_files": 1},
    ],
)
def test_whatever_does_not_stay_as_it_was_is_unstable(changes, report):
    found = outcomes(with_run(report, 1, **changes))

    assert (found["stable on 1 thread"], found["stable on 2 threads"]) == ("passed", "failed")


def test_growth_up_to_the_limit_is_allowed(report):
    grown = with_run(report, 0, growth_bytes_per_inference=1048.0)

    assert outcomes(grown)["stable on 1 thread"] == "passed"
    assert outcomes(grown, GatesConfig(memory_growth_bytes=1_047_999))["stable on 1 thread"] == "failed"


def test_more_instructions_than_float_warn_and_do_not_fail(report):
    costly = with_device(report, 0, quantized=replace(report.devices[0].quantized, instructions=9_201_554))
    verdict = next(v for v in judge(costly, ALLOWED) if v.gate == "instructions on rpi4")

    assert (verdict.outcome, verdict.got) == ("warning", "2.00x more than float")
    assert replace(costly, verdicts=judge(costly, ALLOWED)).passed


def test_a_core_that_counts_no_instructions_is_not_asked_for_them(report):
    native = with_device(report, 0, quantized=None, baseline=None)

    assert "instructions on rpi4" not in outcomes(native)


def test_a_report_without_a_verdict_has_not_passed(report):
    assert not replace(report, verdicts=()).passed


def test_no_gate_to_ask_is_an_error_and_no_pass(report, monkeypatch):
    monkeypatch.setattr(gates, "GATES", ())

    with pytest.raises(ConfigError, match="nothing would be shown by passing"):
        judge(report, ALLOWED)
