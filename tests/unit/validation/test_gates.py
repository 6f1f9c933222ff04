"""Gates: on what evidence each one passes, fails, warns or says that it cannot tell."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from pipeline.config import GateName, GatesConfig
from pipeline.errors import ConfigError
from pipeline.fault import Fault
from pipeline.flatbuffer import FloatOperator
from pipeline.validation import gates
from pipeline.validation.gates import evaluate_gates, with_inputs

ALLOWED = GatesConfig()


def float_operator(index, name):
    return FloatOperator(subgraph=0, index=index, name=name, dtype="float32", tensor="t")


def outcomes(report, allowed=ALLOWED):
    return {str(verdict): verdict.outcome for verdict in evaluate_gates(report, allowed)}


def with_device(report, index, **changes):
    devices = list(report.devices)
    devices[index] = replace(devices[index], **changes)
    return replace(report, devices=tuple(devices))


def moved(comparison, difference, low, high, **changes):
    """The comparison with another difference of its primary metric."""
    first, *others = comparison.metrics
    first = replace(first, difference=difference, low=low, high=high, **changes)
    return replace(comparison, metrics=(first, *others))


def with_accuracy(report, difference, low, high, **changes):
    return replace(report, accuracy=(moved(report.accuracy[0], difference, low, high, **changes),))


def found(report, gate, allowed=ALLOWED):
    """The one verdict of that gate."""
    (verdict,) = [verdict for verdict in evaluate_gates(report, allowed) if str(verdict) == gate]
    return verdict


def test_a_good_model_passes_every_gate(report):
    assert set(outcomes(report).values()) == {"passed"}
    assert set(outcomes(report)) == {
        "accuracy",
        "full integer",
        "size",
        "xnnpack",
        "bit-exactness (rpi4)",
        "bit-exactness (rpi5)",
        "stability (1 thread)",
        "stability (2 threads)",
        "faults",
        "per-class recall",
        "instructions (rpi4)",
        "instructions (rpi5)",
        "latency",
    }


def test_a_verdict_names_its_gate_as_the_option_does(report):
    assert {verdict.gate for verdict in evaluate_gates(report, ALLOWED)} <= set(get_args(GateName))


def test_every_verdict_says_what_it_got_and_what_it_allows(report):
    assert all(verdict.got and verdict.allowed for verdict in evaluate_gates(report, ALLOWED))


@pytest.mark.parametrize(
    ("difference", "low", "high", "outcome"),
    [
        (0.3, -0.9, 1.5, "passed"),
        (-0.5, -0.99, 0.0, "passed"),
        (-0.5, -1.0, 0.0, "inconclusive"),
        (0.0, -3.0, 3.0, "inconclusive"),
        (-1.0, -2.0, -0.1, "failed"),
        (-1.0, -2.0, 0.0, "inconclusive"),
        (-2.8, -8.3, 2.8, "inconclusive"),
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
    unlabelled = replace(report, accuracy=(), runtimes=(replace(report.runtimes[0], value=None),))

    assert found(unlabelled, "accuracy").outcome == "skipped"
    assert found(unlabelled, "accuracy").got == "no labelled data"


def test_without_a_float_model_the_metric_is_said_and_not_judged(report):
    verdict = found(replace(report, accuracy=()), "accuracy")

    assert (verdict.outcome, verdict.got) == (
        "skipped",
        "top-1 92.05, no float baseline to compare with",
    )


def test_the_verdict_names_the_metric_its_change_and_the_interval(report):
    r2 = with_accuracy(report, -0.12, -0.3, 0.05, name="R2")

    assert found(r2, "accuracy").got == "R2 -0.12 points [-0.30, +0.05]"


@pytest.mark.parametrize(
    ("difference", "low", "high", "outcome"),
    [(-0.2, -0.4, 0.9, "passed"), (0.3, 0.1, 1.2, "inconclusive"), (1.5, 1.1, 1.9, "failed")],
)
def test_a_metric_that_should_be_low_is_judged_by_its_rise(difference, low, high, outcome, report):
    rising = with_accuracy(report, difference, low, high, name="relative RMSE", better="lower")

    assert found(rising, "accuracy").outcome == outcome
    assert found(rising, "accuracy").allowed == "below +1 points"


def test_every_output_is_judged_and_named_where_there_are_several(report):
    good, bad = (replace(report.accuracy[0], output=name) for name in ("kind", "age"))
    both = replace(report, accuracy=(good, moved(bad, -4.0, -5.0, -3.0)))

    assert outcomes(both)["accuracy (kind)"] == "passed"
    assert outcomes(both)["accuracy (age)"] == "failed"
    assert "accuracy" not in outcomes(both)


def test_a_binary_classifier_is_judged_by_its_auc_too(report):
    binary = replace(report.accuracy[0], task="binary")
    area = replace(binary.primary, name="AUC", difference=-3.0, low=-4.0, high=-2.0)
    judged = replace(report, accuracy=(replace(binary, metrics=(*binary.metrics, area)),))

    assert outcomes(judged)["accuracy"] == "passed"
    assert outcomes(judged)["accuracy (AUC)"] == "failed"


def test_a_float_model_that_shows_nothing_is_a_warning(report):
    weak = replace(report.accuracy[0], note="the float model is not measurably better than chance")
    verdict = found(replace(report, accuracy=(weak,)), "float baseline")

    assert verdict.outcome == "warning"
    assert verdict.got == weak.note


def test_a_device_with_bits_of_its_own_is_judged_on_its_own_accuracy(report):
    worse = (moved(report.accuracy[0], -9.0, -11.0, -7.0),)
    judged = outcomes(with_device(report, 0, differing_samples=3, largest_difference=2.0, accuracy=worse))

    assert (judged["accuracy"], judged["accuracy (rpi4)"]) == ("passed", "failed")
    assert "accuracy (rpi5)" not in judged


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        (
            {"float_operators": (float_operator(3, "SOFTMAX"), float_operator(4, "ADD"))},
            "2 float operators, first 3 SOFTMAX (float32 t)",
        ),
        (
            {"float_operators": (float_operator(0, "QUANTIZE"), float_operator(4, "ADD"))},
            "2 float operators, first 4 ADD (float32 t)",
        ),
        ({"integer_io": False}, "a float input or output"),
    ],
)
def test_anything_float_fails(changes, got, report):
    broken = replace(report, quantized=replace(report.quantized, **changes))
    assert (found(broken, "full integer").outcome, found(broken, "full integer").got) == ("failed", got)


def degraded(report, format_):
    """A model that the converter could not make int8 throughout."""
    file = replace(
        report.quantized,
        float_operators=(float_operator(3, "WHILE"),),
        integer_io=False,
        size_bytes=report.baseline.size_bytes,
    )
    work = {"builtin": 300, "xnnpack-int8": 100, "xnnpack-float": 600}
    placed = replace(report.delegation[0], multiply_accumulates=work)
    return replace(report, quantized=file, delegation=(placed,), format=format_, format_reason="a loop")


@pytest.mark.parametrize("format_", ["int8 with float operators", "float16", "float32"])
def test_what_the_converter_could_not_make_int8_is_a_warning_with_its_reason(format_, report):
    float_file = degraded(report, format_)

    assert found(float_file, "full integer").outcome == "warning"
    assert found(float_file, "full integer").got == f"{format_}: a loop"
    assert found(float_file, "size").outcome == "warning"
    assert replace(float_file, verdicts=evaluate_gates(float_file, ALLOWED)).passed


def test_xnnpack_float_counts_where_int8_could_not_be_made(report):
    float_file = degraded(report, "float16")

    verdict = found(float_file, "xnnpack")
    assert (verdict.outcome, verdict.got) == ("warning", "70.0% in int8 and float kernels")
    assert outcomes(float_file, GatesConfig(xnnpack_share=0.7))["xnnpack"] == "passed"


def test_another_format_without_a_reason_fails_as_ever(report):
    unexplained = replace(degraded(report, "float32"), format_reason="")
    judged = outcomes(unexplained)

    assert {judged["full integer"], judged["size"], judged["xnnpack"]} == {"failed"}


def test_size_is_a_share_of_the_float_file(report):
    assert outcomes(report, GatesConfig(size_ratio=0.31))["size"] == "passed"
    download = report.quantized.compressed_bytes
    assert outcomes(report, GatesConfig(download_bytes=download))["download"] == "passed"
    assert outcomes(report, GatesConfig(download_bytes=download - 1))["download"] == "failed"
    assert "download" not in outcomes(report, GatesConfig())
    assert outcomes(report, GatesConfig(size_ratio=0.30))["size"] == "failed"
    assert "size" not in outcomes(replace(report, baseline=None))


def test_a_file_of_few_kilobytes_that_is_not_smaller_is_a_warning(report):
    tiny = replace(report.quantized, size_bytes=2360)
    small = replace(report, quantized=tiny, baseline=replace(tiny, size_bytes=2212))
    assert outcomes(small)["size"] == "warning"


def test_a_host_runtime_that_cannot_run_the_model_is_a_warning(report):
    refused = replace(report.runtimes[-1], runtime="tflite-runtime 2.14.0, host", problem="no such operator")
    assert (
        outcomes(replace(report, runtimes=(refused,)))["cross-runtime (tflite-runtime 2.14.0, host)"]
        == "warning"
    )


def test_xnnpack_is_a_share_of_the_arithmetic_on_the_host(report):
    assert outcomes(report, GatesConfig(xnnpack_share=0.96))["xnnpack"] == "passed"
    assert outcomes(report, GatesConfig(xnnpack_share=0.97))["xnnpack"] == "failed"


@pytest.mark.parametrize(
    ("steps", "most", "outcome"),
    [(1.0, 1, "warning"), (2.0, 1, "failed"), (1.0, 0, "failed"), (2.0, 2, "warning")],
)
def test_differing_bits_warn_within_the_allowed_steps_and_fail_beyond(steps, most, outcome, report):
    differing = with_device(
        report, 1, differing_samples=1, largest_difference=steps, accuracy=report.accuracy
    )
    allowed = GatesConfig(bit_difference_steps=most)
    verdict = found(differing, "bit-exactness (rpi5)", allowed)

    assert verdict.outcome == outcome
    assert "63 of 64 equal" in verdict.got
    assert "top-1 92.05 of 2,000 samples there" in verdict.got
    assert outcomes(differing, allowed)["bit-exactness (rpi4)"] == "passed"


def test_a_fault_that_ends_badly_fails_and_is_named(report):
    bad = Fault(environment="host", action="a kill", outcome="other outputs", passed=False)
    faults = (*report.stability.faults, bad)
    judged = replace(report, stability=replace(report.stability, faults=faults))

    assert found(judged, "faults").outcome == "failed"
    assert found(judged, "faults").got == "1 of 2 ended well; a kill: other outputs"
    assert "faults" not in outcomes(replace(report, stability=replace(report.stability, faults=())))


def test_outputs_that_are_no_numbers_fail(report):
    outputs = (replace(report.outputs[0], dtype="float32"),)

    assert found(replace(report, outputs=outputs, not_finite=1), "finite outputs").outcome == "failed"
    assert found(replace(report, outputs=outputs), "finite outputs").outcome == "passed"


def test_more_instructions_than_float_warn_and_do_not_fail(report):
    costly = with_device(report, 0, quantized=replace(report.devices[0].quantized, instructions=9_201_554))
    verdict = found(costly, "instructions (rpi4)")

    assert (verdict.outcome, verdict.got) == ("warning", "2.00x more than float")
    assert replace(costly, verdicts=evaluate_gates(costly, ALLOWED)).passed


def test_a_core_that_counts_no_instructions_is_not_asked_for_them(report):
    native = with_device(report, 0, quantized=None, baseline=None)

    assert "instructions (rpi4)" not in outcomes(native)


def test_a_report_without_a_verdict_has_not_passed(report):
    assert not replace(report, verdicts=()).passed


def test_gates_of_which_none_applies_are_an_error_and_no_pass(report):
    with pytest.raises(ConfigError, match="passing would show nothing"):
        evaluate_gates(replace(report, baseline=None), GatesConfig(enabled=("size",)))
    with pytest.raises(ConfigError, match="passing would show nothing"):
        evaluate_gates(replace(report, accuracy=()), GatesConfig(enabled=("accuracy",)))


def test_each_gate_that_lacks_an_input_says_which():
    with pytest.raises(
        ConfigError, match="; size needs --baseline; regression needs --against; full integer"
    ):
        with_inputs(("size", "regression"), {"--data"})

    assert with_inputs(("size", "full integer", "regression"), {"--against"}) == (
        "full integer",
        "regression",
    )


def test_only_the_gates_that_are_asked_answer_in_the_order_asked(report):
    asked = evaluate_gates(report, GatesConfig(enabled=("size", "accuracy")))

    assert [verdict.gate for verdict in asked] == ["size", "accuracy"]


def test_every_gate_that_can_be_asked_is_there():
    assert tuple(gates.GATES) == ALLOWED.enabled


def test_an_operator_that_xnnpack_has_no_kernel_for_is_named_and_warns(report):
    def with_node(op):
        placed = report.delegation[0]
        nodes = (*placed.nodes, replace(placed.nodes[0], op=op, placement="builtin"))
        work = {"builtin": 960, "xnnpack-int8": 40}
        return replace(report, delegation=(replace(placed, nodes=nodes, multiply_accumulates=work),))

    recurrent = found(with_node("UNIDIRECTIONAL_SEQUENCE_LSTM"), "xnnpack")
    assert recurrent.outcome == "warning"
    assert (
        recurrent.got == "4.0% in int8 kernels; XNNPACK has no int8 kernel for UNIDIRECTIONAL_SEQUENCE_LSTM"
    )
    assert found(with_node("CONV_2D"), "xnnpack").outcome == "failed"


def test_recurrent_layers_that_were_written_out_may_be_larger(report):
    unrolled = replace(report, unrolled=("lstm",))

    assert outcomes(unrolled, GatesConfig(size_ratio=0.1))["size"] == "warning"
