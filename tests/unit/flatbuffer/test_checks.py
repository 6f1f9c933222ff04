"""Well-formed files that a runtime would crash on, hang on or misread are refused."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.errors import InputError
from pipeline.flatbuffer import read_tflite


def _tensors(model):
    return model.subgraphs[0].tensors


def _operators(model):
    return model.subgraphs[0].operators


def _scale(index, *values):
    return lambda model: setattr(_tensors(model)[index].quantization, "scale", np.array(values, np.float32))


def _shape(index, *shape):
    def edit(model):
        _tensors(model)[index].shape, _tensors(model)[index].shapeSignature = list(shape), None

    return edit


def _axis(axis):
    return lambda model: setattr(_tensors(model)[1].quantization, "quantizedDimension", axis)


def _zero_point(value):
    return lambda model: setattr(_tensors(model)[0].quantization, "zeroPoint", [value])


def _inputs(operator, *tensors):
    return lambda model: setattr(_operators(model)[operator], "inputs", list(tensors))


def _stride(value):
    return lambda model: setattr(_operators(model)[0].builtinOptions, "strideW", value)


def _edit(name, value):
    return lambda model: setattr(model.subgraphs[0], name, value)


def _swap(model):
    operators = _operators(model)
    operators[1], operators[2] = operators[2], operators[1]


def _write_to(tensor):
    return lambda model: setattr(_operators(model)[2], "outputs", [tensor])


REFUSED = {
    "scale NaN": (_scale(0, np.nan), "tensor 0 .image. has the quantization scale nan"),
    "scale zero": (_scale(3, 0), "tensor 3 .conv/relu. has the quantization scale 0.0"),
    "scale negative": (_scale(3, -0.5), "quantization scale -0.5"),
    "scale infinite": (_scale(3, np.inf), "quantization scale inf"),
    "scale beyond fixed point": (_scale(3, 1e-20), "quantization scale"),
    "scales for other channels": (_scale(1, 0.1, 0.1, 0.1), "3 scales but 4 zero points"),
    "no scale": (lambda m: setattr(_tensors(m)[3], "quantization", None), "needs a scale on tensor 3"),
    "axis": (_axis(4), "quantized along axis 4 of 4"),
    "axis of another size": (_axis(1), "4 scales for 3 channels"),
    "zero point": (_zero_point(500), "zero point outside int8"),
    "zero dimension": (_shape(3, 1, 0, 4, 4), "tensor 3 .conv/relu. has a zero dimension"),
    "rank": (_shape(3, *[2] * 1000), "has 1000 dimensions"),
    "negative dimension": (_shape(3, 1, -4, 4, 4), "negative dimension"),
    "product over int32": (_shape(3, 1, 65536, 65536, 4), "more than 2.31 - 1 elements"),
    "free dimension not stored as 1": (lambda m: setattr(_tensors(m)[0], "shape", [9, 4, 4, 1]), "signature"),
    "constant of another size": (_shape(6, 3, 65), "has 192 bytes where shape .3, 65. needs 195"),
    "order": (_swap, r"operator 1 \(FULLY_CONNECTED\) reads tensor 5 .flat., which nothing before it writes"),
    "writes a constant": (_write_to(6), "writes tensor 6 .dense/kernel., which already has a value"),
    "writes twice": (_write_to(3), "writes tensor 3 .conv/relu., which already has a value"),
    "output nobody writes": (lambda m: _operators(m).pop(), "output tensor 9 .probabilities. is written"),
    "constant input": (_edit("inputs", [1]), "tensor 1 .conv/kernel. is both an input and a constant"),
    "stride zero": (_stride(0), "StrideW 0, which must be from 1 to 32768"),
    "stride huge": (_stride(65536), "StrideW 65536, which must be"),
    "no options": (lambda m: setattr(_operators(m)[0], "builtinOptionsType", 0), "StrideW 0"),
    "no input": (_inputs(1), r"operator 1 \(RESHAPE\) lacks an input"),
    "kernel left out": (_inputs(0, 0, -1, 2), r"operator 0 \(CONV_2D\) lacks an input"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_a_model_that_would_harm_a_runtime_is_refused(edit, complaint, tiny_tflite_with):
    with pytest.raises(InputError, match=complaint):
        read_tflite(tiny_tflite_with(edit))


def test_options_of_another_operator_are_refused(tiny_tflite_with):
    def edit(model):
        model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = (
            4  # DEPTHWISE_CONV_2D
        )

    with pytest.raises(InputError, match="has Conv2DOptions where DepthwiseConv2DOptions belongs"):
        read_tflite(tiny_tflite_with(edit))


def test_a_bias_may_be_left_out(tiny_tflite_with):
    model = read_tflite(tiny_tflite_with(_inputs(2, 5, 6, -1)))

    assert model.operators[2].inputs == (5, 6, -1)


@pytest.mark.parametrize(
    ("name", "kind"), [("FlexErf", "a Flex .TensorFlow. operator"), ("MyOp", "a custom operator")]
)
def test_an_operator_that_no_runtime_has_is_named_unless_allowed(name, kind, tiny_tflite_with):
    def edit(model):
        code = model.operatorCodes[3]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = name
        _operators(model)[3].builtinOptionsType = 0

    content = tiny_tflite_with(edit)

    with pytest.raises(InputError, match=rf"operator 3 \({name}\) is {kind}"):
        read_tflite(content)
    assert read_tflite(content, allow_custom=[name]).operators[3].is_custom
    assert read_tflite(content, allow_custom=None).operators[3].name == name


def _while(body):
    """Put the operators into a subgraph that a WHILE of the main one runs with ``body`` as its body."""

    def edit(model):
        operator = _operators(model)[3]
        operator.builtinOptionsType, operator.builtinOptions = (
            schema.BuiltinOptions.WhileOptions,
            schema.WhileOptionsT(),
        )
        operator.builtinOptions.condSubgraphIndex = operator.builtinOptions.bodySubgraphIndex = body
        model.operatorCodes[3].builtinCode = model.operatorCodes[3].deprecatedBuiltinCode = (
            schema.BuiltinOperator.WHILE
        )

    return edit


@pytest.mark.parametrize(
    ("body", "complaint"), [(0, "subgraph 0 calls itself"), (7, "calls subgraph 7 of 1")]
)
def test_a_cycle_of_subgraphs_is_refused(body, complaint, tiny_tflite_with):
    with pytest.raises(InputError, match=complaint):
        read_tflite(tiny_tflite_with(_while(body)))


def test_a_signature_of_tensors_that_do_not_exist_is_refused(tiny_tflite_with):
    def edit(model):
        model.signatureDefs = [schema.SignatureDefT()]
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = "x", 42
        model.signatureDefs[0].signatureKey, model.signatureDefs[0].inputs = "serving_default", [entry]

    with pytest.raises(InputError, match="the signature 'serving_default' names tensor 42 of 10"):
        read_tflite(tiny_tflite_with(edit))


@pytest.mark.parametrize("name", ["inputs", "outputs"])
def test_a_model_without_inputs_or_outputs_is_refused(name, tiny_tflite_with):
    with pytest.raises(InputError, match=f"the model has no {name}; convert it again"):
        read_tflite(tiny_tflite_with(_edit(name, [])))
