"""Kernels of a file: which may be changed, what they compute with, and files with changed ones."""

from __future__ import annotations

import numpy as np
import pytest
from float_graphs import RELU, FloatGraph

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import Weights, with_weights
from pipeline.quantize.repairs.kernels import find_kernels
from pipeline.quantize.repairs.moments import moments, patches
from pipeline.quantize.repairs.running import run_batched

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


LAYERS = {
    "same": lambda graph, x: graph.conv(x, normal(4, 3, 3, 6), normal(4)),
    "strides": lambda graph, x: graph.conv(x, normal(4, 3, 2, 6), stride=2),
    "valid": lambda graph, x: graph.conv(x, normal(4, 3, 3, 6), normal(4), padding="VALID", stride=2),
    "dilation": lambda graph, x: graph.conv(x, normal(4, 3, 3, 6), dilation=2),
    "groups": lambda graph, x: graph.conv(x, normal(4, 3, 3, 3), normal(4)),
    "depthwise": lambda graph, x: graph.depthwise(x, normal(1, 3, 3, 12), normal(12), stride=2),
    "dense": lambda graph, x: graph.dense(graph.flatten(x), normal(5, 7 * 9 * 6), normal(5)),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_patches_times_weights_are_what_the_runtime_computes(layer):
    graph = FloatGraph()
    image = graph.input(7, 9, 6)
    content = graph.file(LAYERS[layer](graph, image))
    images = normal(3, 1, 7, 9, 6)
    expected = run_batched(content, [images])[0]

    [kernel] = find_kernels(read_tflite(content)).values()
    rows = patches(kernel, images[:, 0])

    products = (rows @ kernel.matrix().transpose(0, 2, 1)).transpose(1, 0, 2).reshape(rows.shape[1], -1)
    np.testing.assert_allclose((products + kernel.bias).reshape(expected.shape), expected, atol=1e-4)
    np.testing.assert_array_equal(kernel.weights_of(kernel.matrix()), kernel.weights)


def test_moments_are_means_over_all_rows_in_chunks(monkeypatch):
    monkeypatch.setattr("pipeline.quantize.repairs.moments.CHUNK_BYTES", 4000)
    graph = FloatGraph()
    content = graph.file(graph.conv(graph.input(4, 4, 2), normal(3, 2, 2, 2), padding="VALID"))
    [kernel] = find_kernels(read_tflite(content)).values()
    exact, rounded = normal(20, 4, 4, 2), normal(20, 4, 4, 2)

    found = moments(kernel, exact, rounded)

    x, y = patches(kernel, rounded)[0], patches(kernel, exact)[0] @ kernel.matrix()[0].T
    assert found.rows == len(x)
    np.testing.assert_allclose(found.inputs[0], x.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.outputs[0], y.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.square[0], x.T @ x / len(x), atol=1e-5)
    np.testing.assert_allclose(found.cross[0], y.T @ x / len(x), atol=1e-5)


def test_moments_of_many_rows_are_those_of_a_part_of_them():
    graph = FloatGraph()
    content = graph.file(graph.conv(graph.input(32, 32, 1), normal(2, 1, 1, 1)))
    [kernel] = find_kernels(read_tflite(content)).values()
    images = normal(16, 32, 32, 1)

    found = moments(kernel, images, images)

    assert found.rows == pytest.approx(4096, rel=0.01)
    assert found.square[0, 0, 0] == pytest.approx(np.mean(images**2), rel=0.1)


def test_weights_that_several_operators_read_are_left_out_even_if_they_are_stored_for_each():
    graph = FloatGraph()
    one, other = graph.input(4), graph.input(4)
    twice, copied = graph.constant(normal(3, 4)), normal(3, 4)
    hidden = [graph.dense(each, weights) for each in (one, other) for weights in (twice, copied)]
    last = graph.dense(hidden[0], normal(2, 3))
    content = graph.file(*hidden[1:], last)

    assert list(find_kernels(read_tflite(content))) == [4]


def test_computed_weights_are_left_out():
    graph = FloatGraph()
    one, other = graph.input(4), graph.input(4)
    content = graph.file(graph.dense(one, other))

    assert find_kernels(read_tflite(content)) == {}


def test_changed_weights_and_biases_are_computed_with_and_shared_biases_stay_for_others():
    graph = FloatGraph()
    values = graph.input(4)
    shared = graph.constant(normal(3))
    first = graph.dense(values, normal(3, 4), activation=RELU)
    second, third = graph.dense(values, normal(3, 4)), graph.dense(values, normal(3, 4))
    for operator in graph.graph.operators[1:]:
        operator.inputs.append(shared)
    content = graph.file(first, second, third)
    x, old = normal(5, 1, 4), run_batched(graph.file(first, second, third), [normal(1, 1, 4)])

    new = {index: Weights(normal(3, 4), normal(3)) for index in (0, 1)}
    found = run_batched(with_weights(content, new), [x])

    assert len(old) == 3
    rows = x[:, 0]
    np.testing.assert_allclose(
        found[0][:, 0], np.maximum(rows @ new[0].weights.T + new[0].bias, 0), atol=1e-5
    )
    np.testing.assert_allclose(found[1][:, 0], rows @ new[1].weights.T + new[1].bias, atol=1e-5)
    np.testing.assert_allclose(found[2], run_batched(content, [x])[2], atol=1e-5)
    names = [tensor.name for tensor in read_tflite(content).tensors]
    assert [tensor.name for tensor in read_tflite(with_weights(content, new)).tensors][: len(names)] == names
