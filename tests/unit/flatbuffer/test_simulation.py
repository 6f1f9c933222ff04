"""A float file computes what an int8 one does, with the rounding of chosen operators only."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import pack, unpack
from pipeline.flatbuffer.simulation import (
    dequantized,
    exact_constants,
    require_simulated,
    simulate,
    simulate_apart,
)
from pipeline.runtimes.quantization import run_real
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session

SAMPLES = np.random.default_rng(0).random((8, 4, 4, 1), np.float32)
LAYERS = range(4)


@pytest.fixture
def run(tmp_path):
    def infer(content):
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        with Session(host_runtime("litert"), path) as session:
            return run_real(session, [SAMPLES])

    return infer


def test_with_every_operator_rounding_it_gives_what_the_int8_file_gives(tiny_tflite, run):
    model = read_tflite(tiny_tflite)

    [found] = run(simulate(model, {}, LAYERS, inputs=model.subgraphs[0].inputs))

    [expected] = run(tiny_tflite)
    assert np.abs(found - expected).max() <= model.outputs[0].scales[0] * 1.01
    assert np.isclose(found, expected).mean() > 0.9


def test_an_operator_that_does_not_round_computes_in_float(tiny_tflite, run):
    model = read_tflite(tiny_tflite)
    kernel, logits = (dequantized(model, model.tensors[index]) for index in (6, 7))

    flat, found = run(simulate(model, {}, (), outputs=[5, 8]))

    np.testing.assert_allclose(found, flat @ kernel.T + logits, rtol=1e-5, atol=1e-6)
    steps = found / model.tensors[8].scales[0]
    assert np.abs(steps - np.rint(steps)).max() > 0.1


def test_an_operator_that_rounds_leaves_the_others_in_float(tiny_tflite, run):
    model = read_tflite(tiny_tflite)

    convolution, logits = run(simulate(model, {}, [0], outputs=[3, 8]))

    scale = model.tensors[3].scales[0]
    np.testing.assert_allclose(convolution / scale, np.rint(convolution / scale), atol=1e-3)
    steps = logits / model.tensors[8].scales[0]
    assert np.abs(steps - np.rint(steps)).max() > 0.1


def test_an_operator_apart_reads_what_float_computes(tiny_tflite, run):
    model = read_tflite(tiny_tflite)

    _, exact, _, apart = run(simulate_apart(model, {}, [[0], [2]], [[3], [8]]))

    scale = model.tensors[8].scales[0]
    expected = np.clip(np.rint(exact / scale), -132, 123) * scale  # its zero point is 4
    np.testing.assert_allclose(apart, expected, atol=scale * 1e-3)


def test_constants_before_rounding_are_found_by_the_structure_whatever_the_names(tiny_tflite):
    model = read_tflite(tiny_tflite)
    kernels = {index: dequantized(model, model.tensors[index]) + np.float32(1e-3) for index in (1, 6)}
    original = unpack(simulate(model, kernels, ()))
    for tensor in original.subgraphs[0].tensors:
        tensor.name = "?"

    found = exact_constants(model, read_tflite(pack(original)))

    assert sorted(found) == [1, 2, 6, 7]
    for index, kernel in kernels.items():
        np.testing.assert_array_equal(found[index], kernel)


def test_a_float_file_of_another_model_is_refused_at_the_operator_that_differs(tiny_tflite, tiny_tflite_with):
    def cut(model):
        graph = model.subgraphs[0]
        graph.operators, graph.outputs = graph.operators[:3], [8]

    model = read_tflite(tiny_tflite)
    with pytest.raises(InputError, match="SOFTMAX 3, the float file has FULLY_CONNECTED 2"):
        exact_constants(model, read_tflite(tiny_tflite_with(cut)))


def test_a_float_file_has_nothing_to_simulate(tiny_tflite):
    content = simulate(read_tflite(tiny_tflite), {}, ())

    with pytest.raises(InputError, match="no quantized activations"):
        require_simulated(read_tflite(content), "float.tflite")
