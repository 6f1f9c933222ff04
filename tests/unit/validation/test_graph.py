"""The operators of a file: what each reads, and the bytes and zeros of its constants."""

from __future__ import annotations

from pipeline.flatbuffer import read_tflite
from pipeline.validation.graph import GIVEN, graph_of


def test_operators_read_each_other_or_an_input_and_count_their_constants(tiny_tflite):
    flat = read_tflite(tiny_tflite)
    conv, flat_node, dense, softmax = graph_of(flat)

    assert [node.op for node in (conv, flat_node, dense, softmax)] == [
        "CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX",
    ]  # fmt: skip
    assert [node.reads for node in (conv, flat_node, dense, softmax)] == [(GIVEN,), (0,), (1,), (2,)]
    constants = sum(tensor.size_bytes for tensor in flat.tensors if tensor.is_constant)
    assert sum(node.constant_bytes for node in (conv, flat_node, dense, softmax)) == constants
    kernel = flat.tensors[flat.operators[0].inputs[1]]
    assert conv.weights == kernel.elements
    assert conv.zeros == int((flat.constant(kernel) == 0).sum())
    assert (softmax.weights, softmax.zeros, softmax.constant_bytes) == (0, 0, 0)


def test_layers_have_the_names_of_the_users_model(tiny_tflite):
    names = [node.layer for node in graph_of(read_tflite(tiny_tflite), {"conv": "mine", "dense": "head"})]

    assert names[0] == "mine"
    assert "head" in names
