"""Kernels repaired one after the other, on what the int8 file computes before each."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from float_graphs import RELU, Arrays, FloatGraph, packed, quantized

from pipeline.flatbuffer import read_tflite
from pipeline.quantize.activations import statistics
from pipeline.quantize.choice import OutputErrors, decibels
from pipeline.quantize.repairs.kernels import find_kernels
from pipeline.quantize.repairs.layerwise import Layerwise, grids, repair_kernels, unrepairable, weight_steps
from pipeline.quantize.repairs.running import run_batched
from pipeline.quantize.shared_scales import ranges_from

RNG = np.random.default_rng(2)
SAMPLES = Arrays((np.abs(RNG.normal(size=(96, 8, 8, 2))).astype(np.float32),))
OTHERS = Arrays((np.abs(RNG.normal(size=(96, 8, 8, 2))).astype(np.float32),))


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def content():
    """Two convolutions and a depthwise one with a shortcut, and a dense layer without a bias."""
    graph = FloatGraph()
    first = graph.conv(graph.input(8, 8, 2), normal(8, 3, 3, 2), normal(8), activation=RELU)
    hidden = graph.depthwise(first, normal(1, 3, 3, 8), normal(8), activation=RELU)
    hidden = graph.sum(graph.conv(hidden, normal(8, 1, 1, 8) * (RNG.random((8, 1, 1, 8)) < 0.5)), first)
    return graph.file(graph.dense(graph.mean(hidden), normal(4, 8)))


@pytest.fixture(scope="module")
def ranges(content):
    return ranges_from(content, statistics(content, SAMPLES), "min-max", 100.0)


def sqnr(content, changed, ranges):
    return decibels(OutputErrors(content, OTHERS).errors(quantized(changed, ranges)).mean())


def integers(int8):
    model = read_tflite(int8)
    return {
        operator.index: model.constant(model.tensors[operator.inputs[1]])
        for operator in model.operators
        if operator.index in {0, 1, 2, 5}
    }


def test_repairs_reduce_the_error_on_other_samples(content, ranges):
    int8 = quantized(content, ranges)
    plain = sqnr(content, content, ranges)
    corrected, rounded, both = (
        sqnr(content, repair_kernels(content, int8, SAMPLES.arrays, repairs), ranges)
        for repairs in (
            Layerwise(bias_correction=True),
            Layerwise(rounding=True),
            Layerwise(rounding=True, bias_correction=True),
        )
    )

    assert corrected > plain + 0.5
    assert min(rounded, both) > plain + 2


def test_the_int8_file_has_the_chosen_integers_and_the_zeros(content, ranges):
    int8 = quantized(content, ranges)
    repaired = repair_kernels(content, int8, SAMPLES.arrays, Layerwise(rounding=True))

    before, after = integers(int8), integers(quantized(repaired, ranges))

    kernels = find_kernels(read_tflite(repaired))
    steps = weight_steps(read_tflite(content), read_tflite(int8))
    for index, found in after.items():
        chosen = kernels[index].weights_of(kernels[index].matrix() / steps[index])
        np.testing.assert_allclose(chosen, found, atol=0.01)
        assert np.abs(found.astype(int) - before[index]).max() <= 1
        assert (found != before[index]).any()
    assert not after[2][find_kernels(read_tflite(content))[2].weights == 0].any()
    widths = [weight_steps(read_tflite(repaired), read_tflite(quantized(repaired, ranges))), steps]
    for index in steps:
        np.testing.assert_allclose(widths[0][index], widths[1][index], rtol=1e-6)


def test_an_operator_without_a_bias_gets_the_correction_as_its_bias(content, ranges):
    repaired = repair_kernels(
        content, quantized(content, ranges), SAMPLES.arrays, Layerwise(bias_correction=True)
    )

    before, after = (find_kernels(read_tflite(each))[5].bias for each in (content, repaired))
    assert not before.any()
    assert after.any()


def test_grids_and_widths_are_those_of_the_int8_file(content, ranges):
    model, int8 = read_tflite(content), read_tflite(quantized(content, ranges))

    found = grids(model, int8)

    assert {model.tensors[index].name for index in found} == {
        tensor.name for tensor in int8.tensors if tensor.scales and not tensor.is_constant
    }
    for index, (scale, zero_point) in found.items():
        assert (scale, zero_point) == (int8.tensors[index].scales[0], int8.tensors[index].zero_points[0])


def test_a_kernel_that_the_quantizer_left_in_float_is_not_repaired(content, ranges):
    model = schema.ModelT.InitFromPackedBuf(quantized(content, ranges), 0)
    model.subgraphs[0].tensors[model.subgraphs[0].operators[5].inputs[1]].type = schema.TensorType.UINT8

    assert list(weight_steps(read_tflite(content), read_tflite(packed(model)))) == [0, 1, 2]


def test_operators_that_do_not_run_alone_are_named(content):
    assert unrepairable(read_tflite(content)) == ""
    graph = FloatGraph()
    one = graph.add("READ_VARIABLE", [graph.input(4)], [1, 4], schema.ReadVariableOptionsT())
    assert unrepairable(read_tflite(graph.file(one))) == "operator READ_VARIABLE does not run alone"

    graph = FloatGraph()
    other = graph.sum(graph.sum(graph.constant(normal(1, 4)), graph.constant(normal(1, 4))), graph.input(4))
    assert unrepairable(read_tflite(graph.file(other))) == "operator ADD does not run alone"


def test_a_file_whose_shapes_hold_one_sample_runs_one_by_one():
    graph = FloatGraph()
    values = graph.input(2, 3)
    shape = graph.constant(np.array([3, 2], np.int32))
    content = graph.file(graph.add("RESHAPE", [values, shape], [3, 2], schema.ReshapeOptionsT()))
    samples = normal(5, 2, 3)

    np.testing.assert_array_equal(run_batched(content, [samples[:, None]])[0], samples.reshape(5, 3, 2))
