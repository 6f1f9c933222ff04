"""Activations of float models, and the ranges that are chosen of them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from float_models import (
    SAMPLES,
    Given,
    calibrated,
    concrete,
    float_file,
    pooled,
    residual,
    two_inputs,
    unrolled,
)

from calibration.ranges import METHODS
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import Range, ranges_of
from pipeline.quantize import activations
from pipeline.quantize.activations import BATCH, observe, run_file, statistics
from pipeline.quantize.backends.tflite_converter import quantize
from pipeline.quantize.choice import best_ranges, compared_tensors
from pipeline.quantize.shared_scales import SHARED_SCALE, ranges_from

pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")


@pytest.fixture(params=[residual, unrolled, two_inputs])
def model(request):
    """A model as a concrete function, what keeps it alive, and samples."""
    return concrete(request.param)


def test_an_input_has_the_range_of_the_samples(model):
    function, keeper, samples = model
    found = ranges_of(calibrated(function, keeper, samples))

    by_name = {each.name: each for each in found}
    for index, values in enumerate(samples.arrays):
        known = by_name[f"serving_default_input_{index}:0"]
        assert (known.low, known.high) == pytest.approx((values.min(), values.max()))


def test_extremes_are_those_of_the_calibrator_which_sees_inputs_of_add_after_they_were_overwritten(model):
    function, keeper, samples = model
    content = float_file(function, keeper)
    flat = read_tflite(content)
    # The Calibrator numbers the tensors in another way.
    expected = sorted(each[2:] for each in ranges_of(calibrated(function, keeper, samples)))

    found = statistics(content, samples)

    seen = sorted((flat.tensors[at].name, each.low, each.high, at) for at, each in found.items())
    overwritten = {operator.inputs[0] for operator in flat.operators if operator.name == "ADD"}
    assert [name for name, *_ in seen] == [name for name, *_ in expected]
    for (_, low, high, tensor), (_, *known) in zip(seen, expected, strict=True):
        if tensor in overwritten:
            assert known[0] <= low + 1e-5
            assert high <= known[1] + 1e-5
        else:
            assert (low, high) == pytest.approx(known, rel=1e-4, abs=1e-5)
    assert {each.samples for each in found.values()} == {SAMPLES}


def test_what_a_relu_returns_is_not_negative_where_it_is_added_in_place():
    function, keeper, samples = concrete(residual)
    content = float_file(function, keeper)
    relu = next(each.index for each in read_tflite(content).tensors if "re_lu" in each.name)

    assert statistics(content, samples)[relu].low == 0.0


def test_activations_come_in_batches_where_they_are_the_same_as_one_by_one(model, monkeypatch):
    function, keeper, samples = model
    content = float_file(function, keeper)
    monkeypatch.setattr(activations, "BATCH", 1)
    alone = list(observe(content, samples))
    monkeypatch.setattr(activations, "BATCH", 6)
    batches = list(observe(content, samples))

    assert [len(next(iter(batch.values()))) for batch in batches] == [6, 6, 4]
    for tensor in alone[0]:
        one, other = (np.concatenate([each[tensor] for each in found]) for found in (alone, batches))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_batches_are_inferred_at_once_although_a_reshape_has_a_batch_of_one():
    function, keeper, samples = concrete(two_inputs)  # it has a Flatten
    runner = activations._Runner(float_file(function, keeper))
    runner.batch = 8

    runner.try_batches([values[:8] for values in samples.arrays])

    assert runner._batched is not None


def test_a_float_file_runs_to_the_outputs_of_the_model(model):
    function, keeper, samples = model

    (found,) = run_file(float_file(function, keeper), samples)

    expected = [np.asarray(function(*each.arrays)) for each in samples.chunks(1)]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_operators_that_share_a_scale_share_a_range(method):
    function, keeper, samples = concrete(pooled)
    content = float_file(function, keeper)
    flat = read_tflite(content)

    found = {each.tensor: each[3:] for each in ranges_from(content, statistics(content, samples), method, 99)}

    for operator in flat.operators:
        if operator.name in SHARED_SCALE:
            (shared,) = {found[at] for at in (*operator.inputs, *operator.outputs) if at in found}
            assert shared[0] <= 0.0 <= shared[1]
    quantized = read_tflite(
        quantize(content, [Range(0, at, "", *ends) for at, ends in found.items()], "int8")
    )
    for operator in quantized.operators:
        tensors = [quantized.tensors[at] for at in (*operator.inputs, *operator.outputs)]
        scales = {each.scales for each in tensors if each.dtype == "int8" and not each.is_constant}
        assert len(scales) == 1 or operator.name not in SHARED_SCALE


def test_an_unrolled_layer_has_one_range_for_the_same_activation_in_all_steps():
    function, keeper, samples = concrete(unrolled)
    content = float_file(function, keeper)
    flat = read_tflite(content)

    found = {
        each.tensor: each[3:] for each in ranges_from(content, statistics(content, samples), "min-max", 99)
    }

    steps = {}
    for operator in flat.operators:
        if operator.name == "FULLY_CONNECTED":
            of_kernel = steps.setdefault(operator.inputs[1], [])
            of_kernel.append((found[operator.inputs[0]], found[operator.outputs[0]]))
    assert sorted(map(len, steps.values())) == [1, 4, 5]  # the last layer, the state, the input
    assert all(len(set(of_kernel)) == 1 for of_kernel in steps.values())


def test_outliers_in_one_calibration_sample_cost_min_max_the_model_and_are_found_by_comparison():
    function, keeper, _ = concrete(residual)
    content = float_file(function, keeper)
    images = np.random.default_rng(2).normal(size=(256, 8, 8, 2)).astype(np.float32)
    images[50] *= 1000

    found = best_ranges(content, Given((images,)), lambda ranges: quantize(content, ranges, "int8"), 99.99)

    assert found.method != "min-max"
    assert found.error < 0.01 * found.errors["min-max"]
    assert found.error < 0.05
    assert set(found.errors) == set(METHODS)
    assert str(found).startswith(f"ranges: {found.method}")
    assert f"min-max {-10 * np.log10(found.errors['min-max']):.1f}" in str(found)


def test_without_a_clear_gain_the_ranges_are_those_of_all_values():
    function, keeper, samples = concrete(pooled)
    content = float_file(function, keeper)

    found = best_ranges(content, samples, lambda ranges: quantize(content, ranges, "int8"), 100)

    assert found.method == "min-max"
    assert (found.samples, found.errors["percentile"]) == (4, found.errors["min-max"])


def test_outputs_are_compared_before_and_after_they_saturate():
    function, keeper, _ = concrete(residual)
    flat = read_tflite(float_file(function, keeper))

    softmax = flat.operators[-1]
    assert compared_tensors(flat) == (softmax.outputs[0], softmax.inputs[0])


def test_statistics_of_many_samples_take_few_inferences_and_no_more_memory_than_those_of_few(monkeypatch):
    function, keeper, samples = concrete(residual)
    content, invocations = float_file(function, keeper), []
    invoke = Interpreter.invoke
    monkeypatch.setattr(Interpreter, "invoke", lambda self: invocations.append(invoke(self)))

    def peak(times):
        many = samples.take(np.tile(np.arange(SAMPLES), times))
        invocations.clear()
        tracemalloc.start()
        found = statistics(content, many)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert {each.samples for each in found.values()} == {len(many)}
        return held

    few, many = peak(8), peak(80)

    assert len(invocations) == BATCH + 80 * SAMPLES // BATCH + 1  # the first batch is inferred in three ways
    assert many < 1.5 * few
