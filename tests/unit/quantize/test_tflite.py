"""The converter's file is put into the model's order, without a detour of its inputs through floats."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from models.ports import Port
from pipeline.flatbuffer import float_operators, read_tflite
from pipeline.quantize.tflite import _in_order

CODES = (schema.BuiltinOperator.DEQUANTIZE, schema.BuiltinOperator.QUANTIZE)


def through_floats(model, *, more=False):
    """Let the input be turned into floats and quantized with another scale, as some conversions do."""
    graph = model.subgraphs[0]
    for code in CODES:
        entry = schema.OperatorCodeT()
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        entry.version = 1
        model.operatorCodes.append(entry)
    for name, kind, scales in (
        ("floats", schema.TensorType.FLOAT32, ()),
        ("given", schema.TensorType.INT8, (0.004,)),
    ):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 4, 4, 1], kind, 0
        tensor.shapeSignature = [-1, 4, 4, 1]
        if scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.asarray(scales, np.float32)
            tensor.quantization.zeroPoint = np.asarray([-128], np.int64)
        graph.tensors.append(tensor)
    operators = []
    for code, given, result in ((4, 11, 10), (5, 10, 0)):
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = code, [given], [result]
        operators.append(operator)
    graph.operators = [*operators, *graph.operators]
    graph.inputs = [11]
    if more:
        graph.operators.append(operator := schema.OperatorT())
        graph.tensors.append(tensor := schema.TensorT())
        tensor.name, tensor.shape, tensor.type, tensor.buffer = "again", [1, 4, 4, 1], 0, 0
        operator.opcodeIndex, operator.inputs, operator.outputs = 4, [11], [12]
        graph.outputs = [9, 12]
    with_signature(model)


def with_signature(model):
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    for name, tensors, maps in (
        ("input", graph.inputs, "inputs"),
        ("output", graph.outputs[:1], "outputs"),
    ):
        entries = []
        for place, tensor in enumerate(tensors):
            entries.append(entry := schema.TensorMapT())
            entry.name, entry.tensorIndex = f"{name}_{place}", tensor
        setattr(signature, maps, entries)
    model.signatureDefs = [signature]


@pytest.fixture
def ordered(tmp_path, prepared_model, tiny_tflite_with):
    """What becomes of a file that ``edit`` changed."""
    model = prepared_model(tmp_path, inputs=(Port("image", (4, 4, 1)),))
    return lambda edit: read_tflite(_in_order(tiny_tflite_with(edit), model))


def test_an_input_that_passes_through_floats_takes_the_range_that_was_trained(ordered):
    found = ordered(through_floats)

    assert not float_operators(found)
    assert found.inputs[0].name == "image"
    assert found.inputs[0].scales == pytest.approx((1 / 255,))


def test_an_input_that_something_else_reads_too_stays(ordered):
    found = ordered(lambda model: through_floats(model, more=True))

    assert len(float_operators(found)) == 3
    assert found.inputs[0].scales == pytest.approx((0.004,))


def test_an_input_that_is_read_as_it_is_stays(ordered):
    assert ordered(with_signature).inputs[0].scales == pytest.approx((1 / 255,))
