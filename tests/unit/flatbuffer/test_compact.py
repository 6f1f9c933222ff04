"""A compact file has the same operators and answers, and writes what is equal once."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.compact import compact, pack_shared
from pipeline.flatbuffer.layers import layer_names
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session

STEPS = 20


def unrolled(model):
    """Let the softmax's input pass through 20 equal layers, each with a kernel and a bias of its own."""
    graph, code = model.subgraphs[0], 2
    dense = graph.operators[2]
    kernel = np.diag([3, 3, 3]).astype(np.int8)
    place = 8
    graph.tensors[8].name = "model/rnn/cell/MatMul"
    for step in range(1, STEPS + 1):
        first = len(graph.tensors)
        for name, like, values, scale in (
            (f"kernel{step}", 6, kernel, 0.01),
            (f"bias{step}", 7, np.zeros(3, np.int32), 0.001),
        ):
            tensor, buffer = schema.TensorT(), schema.BufferT()
            buffer.data = values.view(np.uint8).ravel()
            tensor.name, tensor.shape, tensor.buffer = name, list(values.shape), len(model.buffers)
            tensor.type, tensor.quantization = graph.tensors[like].type, quantization(scale)
            model.buffers.append(buffer)
            graph.tensors.append(tensor)
        output = schema.TensorT()
        output.name, output.shape, output.type = (
            f"model/rnn/cell/MatMul_{step}",
            [1, 3],
            graph.tensors[8].type,
        )
        output.quantization, output.buffer = quantization(0.1, 4), len(model.buffers)
        model.buffers.append(schema.BufferT())
        graph.tensors.append(output)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = code, [place, first, first + 1], [first + 2]
        operator.builtinOptionsType = dense.builtinOptionsType
        operator.builtinOptions = schema.FullyConnectedOptionsT()
        graph.operators.insert(-1, operator)
        place = first + 2
    graph.operators[-1].inputs = [place]


def quantization(scale, zero=0):
    made = schema.QuantizationParametersT()
    made.scale, made.zeroPoint = np.array([scale], np.float32), np.array([zero], np.int64)
    return made


@pytest.fixture(scope="module")
def before_and_after(tiny_tflite_with):
    before = tiny_tflite_with(unrolled)
    flat = schema.ModelT.InitFromPackedBuf(before, 0)
    compact(flat)
    return before, pack_shared(flat)


def test_the_answers_are_the_same_on_both_runtimes(before_and_after, tmp_path):
    samples = np.random.default_rng(0).integers(-128, 128, (20, 4, 4, 1)).astype(np.int8)
    answers = []
    for number, content in enumerate(before_and_after):
        (path := tmp_path / f"{number}.tflite").write_bytes(content)
        for package in ("litert", "tflite-runtime"):
            with Session(host_runtime(package), path) as session:
                answers.append(session.run([samples])[0])

    for other in answers[1:]:
        np.testing.assert_array_equal(other, answers[0])


def test_equal_constants_names_and_descriptions_are_written_once(before_and_after):
    before, after = before_and_after
    whole, small = read_tflite(before), read_tflite(after)

    flat = schema.ModelT.InitFromPackedBuf(after, 0)
    assert len(small.operators) == len(whole.operators)
    assert len(small.tensors) == len(whole.tensors) - 2 * (STEPS - 1)
    assert len(flat.buffers) == 8  # an empty one, the constants of the first layers, metadata, one kernel
    assert after.count(b"MatMul") == 1
    assert len(after) < 0.5 * len(before)


def test_operators_keep_their_layers_and_ends_keep_their_names(before_and_after):
    whole, small = map(read_tflite, before_and_after)

    assert layer_names(small) == layer_names(whole)
    assert [each.name for each in (*small.inputs, *small.outputs)] == ["image", "probabilities"]


def test_metadata_and_constants_survive_the_removal_of_buffers(before_and_after):
    whole, small = map(read_tflite, before_and_after)

    flat = schema.ModelT.InitFromPackedBuf(before_and_after[1], 0)
    assert bytes(flat.buffers[flat.metadata[0].buffer].data) == bytes(16)
    for one, other in zip(whole.operators, small.operators, strict=True):
        for theirs, ours in zip(one.inputs, other.inputs, strict=True):
            if whole.tensors[theirs].is_constant:
                expected = whole.constant(whole.tensors[theirs])
                np.testing.assert_array_equal(small.constant(small.tensors[ours]), expected)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        (b"model/rnn/cell/MatMul_47", b"model/rnn/cell/MatMul"),
        (b"model/rnn/unstack;model/rnn/unstack1;model/rnn/unstack23", b"model/rnn/unstack"),
        (b"m/rnn/MatMul_2;m/rnn/BiasAdd_2", b"m/rnn/MatMul;m/rnn/BiasAdd"),
        (b"model/conv/Relu6", b"model/conv/Relu6"),
        (b"model/dense_1/MatMul", b"model/dense_1/MatMul"),
        (b"model/dense_1", b"model/dense_1"),
        (b"dense_1", b"dense_1"),
    ],
)
def test_a_short_name_has_the_layer_and_each_operation_once(tiny_tflite_with, name, short):
    def named(model):
        model.subgraphs[0].tensors[8].name = name

    flat = schema.ModelT.InitFromPackedBuf(tiny_tflite_with(named), 0)
    compact(flat)
    assert short in [tensor.name for tensor in flat.subgraphs[0].tensors]


def test_constants_that_differ_in_their_scale_stay_apart(tiny_tflite_with):
    def rescaled(model):
        unrolled(model)
        for tensor in model.subgraphs[0].tensors:
            if tensor.name == "kernel7":
                tensor.quantization = quantization(0.02)

    flat = schema.ModelT.InitFromPackedBuf(tiny_tflite_with(rescaled), 0)
    compact(flat)
    scales = [
        tensor.quantization.scale[0]
        for tensor in flat.subgraphs[0].tensors
        if tensor.name.startswith(b"kernel")
    ]
    assert scales == pytest.approx([0.01, 0.02])
