"""The benchmark of int4 kernels: the file that it compares with computes the same."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from float_graphs import RELU, Arrays, FloatGraph, quantized

from pipeline.quantize.activations import statistics
from pipeline.quantize.shared_scales import ranges_from

RNG = np.random.default_rng(0)
BENCHMARK = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks/quantization/int4.py"))


def four_bits(*shape, axis):
    """Weights with the codes of 4 bits, the largest of them in every output channel."""
    codes = RNG.integers(-7, 8, shape)
    np.moveaxis(codes, axis, 0).reshape(shape[axis], -1)[:, 0] = 7
    return codes / np.float32(20)


def outputs(content, samples):
    interpreter = Interpreter(model_content=content)
    return BENCHMARK["run"](interpreter, samples)[0].astype(int)


def test_kernels_of_four_bits_and_their_biases_compute_the_same_as_int4():
    graph = FloatGraph()
    found = graph.conv(
        graph.input(6, 6, 3), four_bits(4, 3, 3, 3, axis=0), RNG.normal(size=4), activation=RELU
    )
    found = graph.flatten(found)
    content = graph.file(graph.dense(found, four_bits(5, 144, axis=0), RNG.normal(size=5)))
    samples = Arrays((RNG.normal(size=(50, 6, 6, 3)).astype(np.float32),))
    int8 = quantized(content, ranges_from(content, statistics(content, samples), "min-max", 100.0))

    int4, kernels = BENCHMARK["as_int4"](int8)

    given = RNG.integers(-128, 128, (50, 1, 6, 6, 3)).astype(np.int8)
    expected = outputs(int8, given)
    assert kernels == 2
    assert np.ptp(expected) > 50
    assert np.abs(outputs(int4, given) - expected).max() <= 2
