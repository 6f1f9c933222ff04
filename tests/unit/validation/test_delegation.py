"""The arithmetic of operators, by hand, and how it is spread over placements."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.flatbuffer import read_tflite
from pipeline.runtimes.session import ModelDetails, Node
from pipeline.validation.delegation import list_placements, multiply_accumulates


def operator(name, output, *inputs):
    """An operator over tensors of these shapes, the output last."""
    tensors = [SimpleNamespace(shape=shape) for shape in (*inputs, output)]
    for tensor in tensors:
        tensor.elements = 1
        for size in tensor.shape:
            tensor.elements *= size
    made = SimpleNamespace(name=name, inputs=tuple(range(len(inputs))), outputs=(len(inputs),))
    return made, SimpleNamespace(tensors=tensors)


@pytest.mark.parametrize(
    ("name", "output", "inputs", "expected"),
    [
        # Every output element takes height x width x input channels of the kernel.
        ("CONV_2D", (1, 14, 14, 32), [(1, 28, 28, 16), (32, 3, 3, 16)], 14 * 14 * 32 * 3 * 3 * 16),
        ("CONV_2D", (1, 7, 7, 8), [(1, 7, 7, 4), (8, 1, 1, 4)], 7 * 7 * 8 * 4),
        ("DEPTHWISE_CONV_2D", (1, 14, 14, 32), [(1, 14, 14, 32), (1, 3, 3, 32)], 14 * 14 * 32 * 3 * 3),
        ("FULLY_CONNECTED", (1, 10), [(1, 64), (10, 64)], 640),
        ("FULLY_CONNECTED", (1, 5, 10), [(1, 5, 64), (10, 64)], 3200),
        # A transposed convolution spreads every input element over the kernel.
        ("TRANSPOSE_CONV", (1, 8, 8, 6), [(4,), (6, 2, 2, 3), (1, 4, 4, 3)], 4 * 4 * 3 * 6 * 2 * 2),
        ("BATCH_MATMUL", (1, 5, 7), [(1, 5, 3), (1, 3, 7)], 5 * 7 * 3),
        ("SOFTMAX", (1, 10), [(1, 10)], 0),
        ("ADD", (1, 8), [(1, 8), (1, 8)], 0),
    ],
)
def test_multiply_accumulates_by_hand(name, output, inputs, expected):
    assert multiply_accumulates(*operator(name, output, *inputs)) == expected


def test_shares_are_of_the_arithmetic_and_not_of_the_nodes(tiny_tflite):
    flat = read_tflite(tiny_tflite)
    placements = ("xnnpack-int8", "builtin", "builtin", "builtin")
    nodes = tuple(
        Node(index, operator.name, (), (), placement)
        for index, (operator, placement) in enumerate(zip(flat.operators, placements, strict=True))
    )
    found = list_placements("host", ModelDetails((), (), nodes, 1, 1.0), flat)

    convolution, dense = 4 * 4 * 4 * 3 * 3, 64 * 3
    assert found.multiply_accumulates == {"builtin": dense, "xnnpack-int8": convolution}
    assert found.share("xnnpack-int8") == pytest.approx(convolution / (convolution + dense))
    assert found.share("xnnpack-float") == 0


def test_a_model_without_arithmetic_has_no_share(tiny_tflite):
    flat = read_tflite(tiny_tflite)
    softmax = flat.operators[3]

    assert multiply_accumulates(softmax, flat) == 0
