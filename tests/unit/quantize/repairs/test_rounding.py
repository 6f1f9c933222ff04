"""Adaptive rounding and bias correction of one kernel, against the best that is possible."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from float_graphs import FloatGraph

from pipeline.flatbuffer import read_tflite
from pipeline.quantize.repairs.bias_correction import correct_bias
from pipeline.quantize.repairs.kernels import find_kernels
from pipeline.quantize.repairs.moments import moments
from pipeline.quantize.repairs.rounding import round_weights

CHANNELS, PRODUCTS, ROWS = 3, 9, 400


@pytest.fixture
def rng():
    return np.random.default_rng(4)


@pytest.fixture
def kernel(rng):
    """A dense layer."""
    graph = FloatGraph()
    weights = rng.normal(size=(CHANNELS, PRODUCTS)).astype(np.float32)
    content = graph.file(graph.dense(graph.input(PRODUCTS), weights))
    return find_kernels(read_tflite(content))[0]


@pytest.fixture
def steps(kernel):
    """Widths so coarse that rounding matters, (1, channels, 1)."""
    return (np.abs(kernel.matrix()).max(axis=-1, keepdims=True) / 127).astype(np.float32)


@pytest.fixture
def inputs(rng):
    """Correlated inputs with a mean, as activations are, and what int8 makes of them."""
    exact = np.abs(rng.normal(size=(ROWS, PRODUCTS)) @ rng.normal(size=(PRODUCTS, PRODUCTS)))
    return exact.astype(np.float32), (0.97 * exact + 0.05).astype(np.float32)


def error(kernel, weights, inputs, *, free_bias=False):
    """The mean squared error of each output channel."""
    exact, rounded = inputs
    difference = exact @ kernel.weights.T - rounded @ weights.T
    return (difference.var(axis=0) if free_bias else (difference**2).mean(axis=0)).astype(np.float64)


@pytest.mark.parametrize("free_bias", [False, True])
def test_the_error_is_close_to_the_least_of_all_roundings(kernel, steps, inputs, free_bias):
    found = round_weights(kernel, steps, moments(kernel, *inputs), free_bias=free_bias)

    real = kernel.weights / steps[0]
    is_free = np.abs(real) < 126.5
    chosen = error(kernel, found, inputs, free_bias=free_bias)
    for channel in range(CHANNELS):
        options = [
            (np.floor(w), np.ceil(w)) if free else (w,)
            for w, free in zip(real[channel], is_free[channel], strict=True)
        ]
        every = np.array(list(itertools.product(*options)), np.float32) * steps[0, channel]
        one = replace(kernel, weights=np.tile(kernel.weights[channel], (len(every), 1)))
        least = error(one, every, inputs, free_bias=free_bias).min()
        nearest = error(kernel, np.rint(real) * steps[0], inputs, free_bias=free_bias)[channel]
        assert least * 0.999 <= chosen[channel] <= least + 0.3 * (nearest - least)


def test_weights_stay_on_the_grid_next_to_their_values_and_the_largest_stays(kernel, steps, inputs):
    found = round_weights(kernel, steps, moments(kernel, *inputs), free_bias=False)

    integers = found / steps[0]
    np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
    assert np.abs(integers - kernel.weights / steps[0]).max() < 1
    np.testing.assert_array_equal(np.abs(found).max(axis=1), np.abs(kernel.weights).max(axis=1))
    assert (np.rint(integers) != np.rint(kernel.weights / steps[0])).any()


def test_weights_that_are_zero_stay_zero(kernel, steps, inputs, rng):
    pruned = replace(kernel, weights=kernel.weights * (rng.random(kernel.weights.shape) < 0.5))

    found = round_weights(pruned, steps, moments(pruned, *inputs), free_bias=False)

    assert not found[pruned.weights == 0].any()


def test_few_rows_move_hardly_any_weight(kernel, steps, inputs):
    exact = inputs[0][:1]

    found = round_weights(kernel, steps, moments(kernel, exact, exact), free_bias=False)

    nearest = np.rint(kernel.weights / steps[0]) * steps[0]
    real = kernel.weights / steps[0]
    moved = ~np.isclose(found, nearest)
    assert (np.abs(real - np.rint(real))[moved] > 0.2).all()


def test_a_kernel_of_too_many_products_is_left_as_it_is(kernel, steps, inputs, monkeypatch):
    monkeypatch.setattr("pipeline.quantize.repairs.rounding.MAX_PRODUCTS", PRODUCTS - 1)

    found = round_weights(kernel, steps, moments(kernel, *inputs), free_bias=False)

    assert found is kernel.weights


def test_a_corrected_bias_gives_each_output_the_mean_of_the_float_model(kernel, steps, inputs):
    exact, rounded = inputs
    quantized = np.rint(kernel.matrix() / steps) * steps

    bias = correct_bias(kernel, quantized, moments(kernel, exact, rounded, squares=False))

    means = (exact @ kernel.weights.T + kernel.bias).mean(axis=0)
    np.testing.assert_allclose((rounded @ quantized[0].T + bias).mean(axis=0), means, rtol=1e-4)
