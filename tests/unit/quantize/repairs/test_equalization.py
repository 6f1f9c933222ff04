"""Cross-layer equalization: the function stays, the ranges of channels become similar."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from float_graphs import RELU, RELU6, Arrays, FloatGraph

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import Weights, with_weights
from pipeline.quantize.repairs.equalization import Pair, channel_magnitudes, equalize, find_pairs
from pipeline.quantize.repairs.kernels import find_kernels
from pipeline.quantize.repairs.running import run_batched

RNG = np.random.default_rng(1)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


SAMPLES = Arrays((np.abs(normal(20, 8, 8, 2)),))


def chain():
    """Convolutions, a depthwise one with two outputs a channel, pooling, a reshape and dense layers."""
    graph = FloatGraph()
    found = graph.conv(graph.input(8, 8, 2), normal(4, 3, 3, 2), normal(4), activation=RELU)
    found = graph.depthwise(found, normal(1, 3, 3, 8), normal(8), activation=RELU)
    found = graph.max_pool(found)
    found = graph.conv(found, normal(6, 1, 1, 8), normal(6))
    found = graph.flatten(found)
    found = graph.dense(found, normal(5, 4 * 4 * 6), normal(5), activation=RELU)
    return graph.file(graph.dense(found, normal(3, 5)))


def spread(content, octaves):
    """The same function with channels whose scales differ by up to 2^(2 octaves)."""
    model = read_tflite(content)
    kernels, changed = find_kernels(model), {}
    for first, second in find_pairs(model):
        for index in (first, second):
            kernel = kernels[index]
            changed.setdefault(index, [kernel.weights.copy(), kernel.bias.copy()])
        scales = np.float32(2.0) ** RNG.uniform(-octaves, octaves, len(kernels[first].bias)).astype(
            np.float32
        )
        weights, bias = changed[first]
        bias *= scales
        weights *= scales if kernels[first].is_depthwise else scales.reshape(-1, *[1] * (weights.ndim - 1))
        repeats = kernels[second].weights.shape[-1] // len(scales)
        along = np.repeat if kernels[second].is_depthwise else np.tile
        changed[second][0] /= along(scales, repeats)
    return with_weights(content, {index: Weights(*values) for index, values in changed.items()})


def outputs(content):
    return run_batched(content, [SAMPLES.arrays[0][:, None]])[0]


def disparities(content):
    """How many times the largest channel of each equalized activation is larger than the smallest."""
    found = channel_magnitudes(content, SAMPLES).values()
    return [each[each > 0].max() / each[each > 0].min() for each in found]


def test_a_chain_of_layers_has_a_pair_at_each_link():
    assert find_pairs(read_tflite(chain())) == [Pair(0, 1), Pair(1, 3), Pair(3, 5), Pair(5, 6)]


def test_the_function_stays_and_spread_scales_are_gone():
    content = chain()
    damaged = spread(content, 6)
    np.testing.assert_allclose(outputs(damaged), outputs(content), rtol=1e-4, atol=1e-4)
    assert max(disparities(damaged)) > 100

    repaired = equalize(damaged, channel_magnitudes(damaged, SAMPLES))

    expected = outputs(damaged)
    np.testing.assert_allclose(outputs(repaired), expected, atol=1e-5 * np.abs(expected).max())
    undamaged = equalize(content, channel_magnitudes(content, SAMPLES))
    np.testing.assert_array_less(disparities(repaired), 2 * np.array(disparities(undamaged)))
    np.testing.assert_array_less(disparities(undamaged), 1 + np.array(disparities(content)))


def test_channels_that_are_zero_or_that_nothing_reads_are_left_as_they_are():
    weights, reading, bias = normal(3, 2), normal(2, 3), normal(3)
    weights[0], bias[0] = 0, -1
    reading[:, 1] = 0
    graph = FloatGraph()
    content = graph.file(graph.dense(graph.dense(graph.input(2), weights, bias, activation=RELU), reading))
    samples = Arrays((normal(9, 2),))

    first, second = find_kernels(
        read_tflite(equalize(content, channel_magnitudes(content, samples)))
    ).values()

    assert np.isfinite(first.weights).all()
    np.testing.assert_array_equal(first.weights[:2], weights[:2])
    np.testing.assert_array_equal(first.bias[:2], bias[:2])
    np.testing.assert_array_equal(second.weights[:, :2], reading[:, :2])


def unbounded(graph, found):
    return graph.conv(found, normal(4, 1, 1, 4), activation=RELU6)


def read_twice(graph, found):
    hidden = graph.conv(found, normal(4, 1, 1, 4))
    return graph.sum(graph.conv(hidden, normal(4, 1, 1, 4)), hidden)


def mixed_channels(graph, found):
    hidden = graph.conv(found, normal(4, 1, 1, 4))
    shape = graph.constant(np.array([1, 16, 16, 1], np.int32))
    return graph.add("RESHAPE", [hidden, shape], [1, 16, 16, 1], schema.ReshapeOptionsT())


def moved_channels(graph, found):
    hidden = graph.conv(found, normal(4, 1, 1, 4))
    order = graph.constant(np.array([0, 3, 1, 2], np.int32))
    return graph.add("TRANSPOSE", [hidden, order], [1, 4, 8, 8], schema.TransposeOptionsT())


@pytest.mark.parametrize("between", [unbounded, read_twice, mixed_channels, moved_channels])
def test_layers_that_a_scale_does_not_pass_between_are_no_pair(between):
    graph = FloatGraph()
    hidden = between(graph, graph.input(8, 8, 4))
    channels = graph.graph.tensors[hidden].shape[-1]
    model = read_tflite(graph.file(graph.conv(hidden, normal(2, 1, 1, channels))))

    assert find_pairs(model) == []


def test_an_activation_that_is_an_output_of_the_model_is_left_as_it_is():
    graph = FloatGraph()
    hidden = graph.dense(graph.input(4), normal(3, 4))
    content = graph.file(hidden, graph.dense(hidden, normal(2, 3)))

    assert find_pairs(read_tflite(content)) == []
    assert outputs_of(equalize(content, {})) == outputs_of(content)


def outputs_of(content):
    return [each.tolist() for each in run_batched(content, [np.ones((2, 1, 4), np.float32)])]
