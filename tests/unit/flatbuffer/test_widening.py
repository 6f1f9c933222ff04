"""Chosen operators of an int8 file compute in a wider format; all others stay as they are."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.flatbuffer import float_operators, read_tflite
from pipeline.flatbuffer.simulation import simulate
from pipeline.flatbuffer.widening import moved_along, widen
from pipeline.runtimes.quantization import run_real
from pipeline.runtimes.runtime import host_runtime, reference_runtime
from pipeline.runtimes.session import Session

SAMPLES = np.random.default_rng(0).random((8, 4, 4, 1), np.float32)
CONVOLUTION, RESHAPE, DENSE, SOFTMAX = range(4)
ALL = (CONVOLUTION, RESHAPE, DENSE, SOFTMAX)


@pytest.fixture
def model(tiny_tflite):
    return read_tflite(tiny_tflite)


@pytest.fixture
def run(tmp_path):
    def infer(content, runtime=None):
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        with Session(runtime or host_runtime("litert"), path) as session:
            return run_real(session, [SAMPLES])[0]

    return infer


@pytest.mark.parametrize("width", ["float16", "float32", "int16"])
def test_a_model_that_is_wide_throughout_gives_what_float_gives_on_every_runtime(model, width, run):
    content = widen(model, {}, ALL, width)

    expected = run(simulate(model, {}, (), inputs=[0]))
    for runtime in (host_runtime("litert"), host_runtime("tflite-runtime"), reference_runtime()):
        np.testing.assert_allclose(run(content, runtime), expected, atol=2e-3 if width == "int16" else 1e-4)


def test_operators_that_are_not_wide_keep_reading_and_writing_int8(model, run):
    flat = read_tflite(widen(model, {}, [DENSE], "float32"))

    assert [each.name for each in flat.operators] == [
        "CONV_2D", "RESHAPE", "DEQUANTIZE", "FULLY_CONNECTED", "QUANTIZE", "SOFTMAX",
    ]  # fmt: skip
    assert [each.name for each in float_operators(flat) if not each.is_cast] == ["FULLY_CONNECTED"]
    steps = run(flat.content) * 256
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert [tensor.dtype for tensor in (*flat.inputs, *flat.outputs)] == ["int8", "int8"]


def test_constants_are_those_from_before_they_were_rounded(model, run):
    kernel = np.random.default_rng(1).normal(0, 0.1, (3, 64)).astype(np.float32)

    found = run(widen(model, {6: kernel}, [DENSE, SOFTMAX], "float32"))

    flat = run(simulate(model, {}, [CONVOLUTION], inputs=[0], outputs=[5])).reshape(8, 64)
    logits = flat @ kernel.T
    np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=0.05)


def test_float16_stores_the_weights_of_an_operator_in_half_the_bytes_of_float32(model):
    sizes = {width: len(widen(model, {}, [DENSE], width)) for width in ("float32", "float16")}

    assert 0 < sizes["float32"] - sizes["float16"] <= 2 * 3 * 64


def test_an_output_of_a_wide_operator_is_float_and_keeps_its_name(model):
    flat = read_tflite(widen(model, {}, [SOFTMAX], "int16"))

    assert [(tensor.name, tensor.dtype) for tensor in flat.outputs] == [("probabilities", "float32")]
    assert [tensor.name for tensor in flat.inputs] == ["image"]


def test_a_wide_input_is_float_and_is_rounded_only_for_those_that_need_it(model, run):
    flat = read_tflite(widen(model, {}, [CONVOLUTION], "float32", inputs=[0]))

    assert [(tensor.name, tensor.dtype) for tensor in flat.inputs] == [("image", "float32")]
    assert [each.name for each in flat.operators][:2] == ["CONV_2D", "QUANTIZE"]
    np.testing.assert_allclose(run(flat.content), run(simulate(model, {}, [0, 2, 3])), atol=0.02)


def test_what_only_moves_values_between_wide_operators_does_not_round_them(model):
    assert moved_along(model, [CONVOLUTION, DENSE]) == {CONVOLUTION, RESHAPE, DENSE}
    assert moved_along(model, [CONVOLUTION]) == {CONVOLUTION}
    assert moved_along(model, [DENSE, SOFTMAX]) == {DENSE, SOFTMAX}


def test_int16_is_refused_for_an_operator_without_such_a_kernel(tiny_tflite_with):
    def exchange(flat):
        flat.operatorCodes[3].builtinCode = flat.operatorCodes[3].deprecatedBuiltinCode = 50  # LOG_SOFTMAX
        flat.subgraphs[0].operators[3].builtinOptionsType = 0
        flat.subgraphs[0].operators[3].builtinOptions = None

    model = read_tflite(tiny_tflite_with(exchange))

    with pytest.raises(InputError, match="LOG_SOFTMAX has no int16 kernel here; use float16"):
        widen(model, {}, [SOFTMAX], "int16")


def test_weights_beyond_the_range_of_float16_are_refused(model):
    with pytest.raises(InputError, match=r"dense/kernel: its values reach 7e\+04.*use float32"):
        widen(model, {6: np.full((3, 64), 7e4, np.float32)}, [DENSE], "float16")
