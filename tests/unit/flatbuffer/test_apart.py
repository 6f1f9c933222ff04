"""Operators side by side give what they give in the model, whatever the others do."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.apart import apart
from pipeline.flatbuffer.edit import with_outputs
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session

SAMPLES = np.random.default_rng(0).integers(-128, 128, (5, 4, 4, 1)).astype(np.int8)


@pytest.fixture
def run(tmp_path):
    def infer(content, inputs):
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        with Session(host_runtime("litert"), path) as session:
            return session.run(inputs)

    return infer


def test_operators_apart_give_what_they_give_in_the_model(tiny_tflite, run):
    model = read_tflite(tiny_tflite)
    tensors = (3, 5, 8, 9)
    values = {0: SAMPLES, **dict(zip(tensors, run(with_outputs(model, tensors), [SAMPLES]), strict=True))}

    found = apart(model, tensors)

    assert (found.inputs, found.outputs) == ((0, 3, 5, 8), tensors)
    for index, array in zip(tensors, run(found.content, [values[i] for i in found.inputs]), strict=True):
        np.testing.assert_array_equal(array, values[index])


def test_an_operator_computes_on_what_it_is_given(tiny_tflite, run):
    found = apart(read_tflite(tiny_tflite), (3, 5, 8, 9))
    images, flat = np.full((1, 4, 4, 4), 7, np.int8), np.zeros((1, 64), np.int8)

    _, reshaped, _, _ = run(found.content, [SAMPLES[:1], images, flat, np.zeros((1, 3), np.int8)])

    assert (reshaped == 7).all()


def test_operators_between_two_of_the_tensors_stay_together(tiny_tflite):
    found = apart(read_tflite(tiny_tflite), (3, 9))

    assert found.inputs == (0, 3)
    assert [operator.name for operator in read_tflite(found.content).operators] == [
        "CONV_2D",
        "RESHAPE",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]


def test_a_tensor_without_a_batch_is_given_and_returned_whole(tiny_tflite_with, run):
    def edit(model):
        graph = model.subgraphs[0]
        model.buffers[3].data = np.array([64, 1], np.int32).view(np.uint8)
        graph.tensors[5].shape = [64, 1]
        graph.operators, graph.outputs = graph.operators[:2], [5]

    found = apart(read_tflite(tiny_tflite_with(edit)), (3, 5))
    images = np.arange(64, dtype=np.int8).reshape(1, 4, 4, 4)

    _, flat = run(found.content, [SAMPLES[:1], images])

    np.testing.assert_array_equal(flat, images.reshape(1, 64))
