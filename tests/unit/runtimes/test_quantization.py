"""Quantizing agrees with LiteRT's own QUANTIZE operator, to the bit."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.runtimes.quantization import dequantize, quantize_inputs


def _run(code, x, source, result):
    """Run one operator in LiteRT; ``source`` and ``result`` are (element type, scale, zero point)."""
    from ai_edge_litert.interpreter import Interpreter

    model, graph, operator, opcode = (
        schema.ModelT(),
        schema.SubGraphT(),
        schema.OperatorT(),
        schema.OperatorCodeT(),
    )
    graph.tensors = []
    for kind, scale, zero_point in (source, result):
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.name = [x.size], kind, "x"
        if scale:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        graph.tensors.append(tensor)
    opcode.builtinCode = opcode.deprecatedBuiltinCode = code
    opcode.version = 2
    operator.inputs, operator.outputs, graph.operators = [0], [1], [operator]
    graph.inputs, graph.outputs = [0], [1]
    model.version, model.buffers, model.operatorCodes, model.subgraphs = (
        3,
        [schema.BufferT()],
        [opcode],
        [graph],
    )
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")

    interpreter = Interpreter(model_content=bytes(builder.Output()))
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, x)
    interpreter.invoke()
    return interpreter.get_tensor(1)


@pytest.mark.parametrize("scale", [0.5, 1 / 255, 0.0472, 0.1])
@pytest.mark.parametrize(
    ("dtype", "kind", "zero_point"),
    [
        ("int8", schema.TensorType.INT8, -3),
        ("uint8", schema.TensorType.UINT8, 7),
        ("int16", schema.TensorType.INT16, 0),
    ],
)
def test_quantizing_gives_the_bits_of_litert_midpoints_included(dtype, kind, zero_point, scale):
    scale = float(np.float32(scale))
    midpoints = (np.arange(-400, 400) + 0.5) * scale
    x = np.concatenate([midpoints, np.random.default_rng(0).normal(size=5000) * scale * 100]).astype(
        np.float32
    )

    ours = quantize_inputs(x, scale, zero_point, dtype)

    litert = _run(
        schema.BuiltinOperator.QUANTIZE, x, (schema.TensorType.FLOAT32, 0, 0), (kind, scale, zero_point)
    )
    assert ours.dtype == litert.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(ours, litert)


def test_dequantizing_gives_the_bits_of_litert():
    x = np.arange(-128, 128).astype(np.int8)

    litert = _run(
        schema.BuiltinOperator.DEQUANTIZE,
        x,
        (schema.TensorType.INT8, 0.0472, -3),
        (schema.TensorType.FLOAT32, 0, 0),
    )

    np.testing.assert_array_equal(dequantize(x, 0.0472, -3), litert)


def test_values_beyond_the_range_saturate():
    np.testing.assert_array_equal(quantize_inputs(np.array([-1e9, 1e9, 0]), 0.1, 5, np.int8), [-128, 127, 5])


def test_uint8_does_not_wrap_below_its_zero_point():
    np.testing.assert_array_equal(dequantize(np.array([0, 255], np.uint8), 0.5, 128), [-64, 63.5])
