"""Parts of a file compute the same as in the whole; a converted file gets the order of the model."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.flatbuffer import float_operators, read_tflite
from pipeline.flatbuffer.edit import extract, normalize, stands_alone
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session

SAMPLES = np.random.default_rng(0).integers(-128, 128, (5, 4, 4, 1)).astype(np.int8)


def run(content, folder, inputs):
    path = folder / "part.tflite"
    path.write_bytes(content)
    with Session(host_runtime("litert"), path) as session:
        return session.run(inputs)


def test_each_operator_is_a_valid_file_with_its_own_constants(tiny_tflite):
    whole = read_tflite(tiny_tflite)
    for operator in whole.operators:
        part = read_tflite(next(extract(whole, [[operator.index]])))
        [alone] = part.operators

        assert (alone.name, alone.options) == (operator.name, operator.options)
        assert [part.tensors[i].name for i in alone.inputs] == [
            whole.tensors[i].name for i in operator.inputs
        ]
        for ours, theirs in zip(alone.inputs, operator.inputs, strict=True):
            if whole.tensors[theirs].is_constant:
                constant = part.constant(part.tensors[ours])
                np.testing.assert_array_equal(constant, whole.constant(whole.tensors[theirs]))


def test_the_operators_one_after_the_other_give_the_bits_of_the_whole(tiny_tflite, tmp_path):
    whole = read_tflite(tiny_tflite)
    values = [SAMPLES]
    for operator in whole.operators:
        values = run(next(extract(whole, [[operator.index]])), tmp_path, values)

    np.testing.assert_array_equal(values[0], run(tiny_tflite, tmp_path, [SAMPLES])[0])


def test_several_operators_have_the_inputs_and_outputs_of_the_rest_of_the_model(tiny_tflite):
    whole = read_tflite(tiny_tflite)
    part = read_tflite(next(extract(whole, [[1, 2]])))

    assert [tensor.name for tensor in part.inputs] == [whole.tensors[whole.operators[1].inputs[0]].name]
    assert [tensor.name for tensor in part.outputs] == [whole.tensors[whole.operators[2].outputs[0]].name]


def test_what_is_read_outside_is_an_output_even_in_the_middle(tiny_tflite_with):
    def read_twice(model):
        model.subgraphs[0].outputs = [5, 9]

    whole = read_tflite(tiny_tflite_with(read_twice))
    part = read_tflite(next(extract(whole, [[0, 1, 2]])))

    assert len(part.outputs) == 2


def test_an_operator_without_meaning_alone_does_not_stand_alone(tiny_tflite, tiny_tflite_with):
    whole = read_tflite(tiny_tflite)
    assert all(stands_alone(whole, operator) for operator in whole.operators)

    def make_custom(model):
        code = model.operatorCodes[3]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"Mine"
        model.subgraphs[0].operators[3].builtinOptionsType = 0
        model.subgraphs[0].operators[3].builtinOptions = None

    custom = read_tflite(tiny_tflite_with(make_custom), allow_custom=None)
    assert [stands_alone(custom, operator) for operator in custom.operators] == [True, True, True, False]


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
def normalized(tiny_tflite_with):
    """What becomes of a file that ``edit`` changed."""
    return lambda edit: read_tflite(normalize(tiny_tflite_with(edit), ["image"], ["output"]))


def test_an_input_that_passes_through_floats_takes_the_range_that_was_trained(normalized):
    found = normalized(through_floats)

    assert not float_operators(found)
    assert found.inputs[0].name == "image"
    assert found.inputs[0].scales == pytest.approx((1 / 255,))


def test_an_input_that_something_else_reads_too_stays(normalized):
    found = normalized(lambda model: through_floats(model, more=True))

    assert len(float_operators(found)) == 3
    assert found.inputs[0].scales == pytest.approx((0.004,))


def test_an_input_that_is_read_as_it_is_stays(normalized):
    assert normalized(with_signature).inputs[0].scales == pytest.approx((1 / 255,))
