"""Sparsity and float operators, told from the file."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.flatbuffer import float_operators, integer_io, read_tflite, weight_sparsity


def _float_outputs(model):
    """Make the last two results float32, as a converter does where there is no int8 kernel."""
    for tensor in model.subgraphs[0].tensors[8:]:
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None


def test_a_full_integer_model_has_no_float_operator(tiny_tflite):
    model = read_tflite(tiny_tflite)

    assert float_operators(model) == ()
    assert integer_io(model)


def test_float_operators_are_named_in_order(tiny_tflite_with):
    model = read_tflite(tiny_tflite_with(_float_outputs))

    assert tuple(map(str, float_operators(model))) == (
        "2 FULLY_CONNECTED (float32 dense/logits)",
        "3 SOFTMAX (float32 probabilities)",
    )
    assert not integer_io(model)


def test_zero_weights_are_counted_for_each_kernel(tiny_tflite):
    sparsity = weight_sparsity(read_tflite(tiny_tflite))

    assert sparsity == {"conv/kernel": (2, 36), "dense/kernel": (96, 192)}
    assert sparsity["dense/kernel"].fraction == pytest.approx(0.5)


def test_zero_means_the_channels_own_zero_point(tiny_tflite_with):
    def shift(model):
        model.subgraphs[0].tensors[1].quantization.zeroPoint = np.array([0, 1, 2, 0], np.int64)

    model = read_tflite(tiny_tflite_with(shift))
    kernel = model.constant(model.tensors[1])

    expected = sum(int((kernel[channel] == zero).sum()) for channel, zero in enumerate([0, 1, 2, 0]))
    assert weight_sparsity(model)["conv/kernel"].zeros == expected


def test_float16_kernels_are_found_behind_their_dequantize(tiny_tflite_with):
    def widen(model):
        graph = model.subgraphs[0]
        wide = schema.TensorT()
        wide.name, wide.shape, wide.type, wide.buffer = "wide", [3, 64], schema.TensorType.FLOAT32, 0
        graph.tensors.append(wide)
        graph.tensors[6].type, graph.tensors[6].quantization = schema.TensorType.FLOAT16, None
        model.buffers[4].data = np.tile(np.array([0, 1, 2], np.float16), 64).view(np.uint8)
        for index in (5, 8):
            graph.tensors[index].type, graph.tensors[index].quantization = schema.TensorType.FLOAT32, None
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
        model.operatorCodes.append(code)
        dequantize = schema.OperatorT()
        dequantize.opcodeIndex, dequantize.inputs, dequantize.outputs = 4, [6], [10]
        graph.operators[2].inputs = [5, 10, -1]
        graph.operators.insert(0, dequantize)

    assert weight_sparsity(read_tflite(tiny_tflite_with(widen)))["dense/kernel"] == (64, 192)
