"""A buffer more, and not a byte of the others touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.errors import InputError
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.metadata_entry import add_metadata_entry
from pipeline.flatbuffer.reader import Span
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session

DATA = bytes(range(101))


def spans(model):
    return [tensor.data for graph in model.subgraphs for tensor in graph.tensors if tensor.size_bytes]


def without_places(model):
    return [
        replace(graph, tensors=tuple(replace(tensor, data=Span(0, 0)) for tensor in graph.tensors))
        for graph in model.subgraphs
    ]


@pytest.mark.parametrize("length", [0, 1, 15, 16, 101, 1000])
def test_operators_tensors_and_constants_are_the_same(length, tiny_tflite):
    data = DATA[:1] * length
    written = add_metadata_entry(tiny_tflite, "NEW", data)
    before, after = read_tflite(tiny_tflite), read_tflite(written)

    assert without_places(before) == without_places(after)
    for old, new in zip(spans(before), spans(after), strict=True):
        assert (new.start - old.start) % 64 == 0
        assert written[new.start : new.start + new.length] == tiny_tflite[old.start : old.start + old.length]
    assert after.metadata == {"min_runtime_version": 16, "NEW": length}
    assert after.description == before.description
    root = schema.ModelT.InitFromPackedBuf(written, 0)
    found = root.buffers[root.metadata[1].buffer].data
    assert bytes([] if found is None else found) == data


def test_the_new_buffer_lies_at_sixteen_bytes(tiny_tflite):
    for length in range(64):
        data = b"\xa5" * 40 + bytes([length]) * length
        assert add_metadata_entry(tiny_tflite, "x" * (length + 1), data).index(data) % 16 == 0


def test_an_entry_of_the_same_name_is_replaced(tiny_tflite):
    once = add_metadata_entry(tiny_tflite, "NEW", b"old")
    twice = add_metadata_entry(once, "NEW", DATA)

    assert read_tflite(twice).metadata == {"min_runtime_version": 16, "NEW": len(DATA)}


def test_a_model_without_metadata_gets_some(tiny_tflite_with):
    bare = tiny_tflite_with(lambda model: setattr(model, "metadata", None))

    assert read_tflite(add_metadata_entry(bare, "NEW", DATA)).metadata == {"NEW": len(DATA)}


def test_signatures_stay(tiny_tflite_with):
    def sign(model):
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serve", 0
        signature.inputs, signature.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
        signature.inputs[0].name, signature.inputs[0].tensorIndex = "image", 0
        signature.outputs[0].name, signature.outputs[0].tensorIndex = "class", 9
        model.signatureDefs = [signature]

    assert read_tflite(add_metadata_entry(tiny_tflite_with(sign), "NEW", DATA)).signatures == ("serve",)


def test_data_outside_of_the_flatbuffer_is_refused_because_its_place_would_move(tiny_tflite_with):
    def move(model):
        model.buffers[6].data = None
        model.buffers[6].offset, model.buffers[6].size = 16, 16

    with pytest.raises(InputError, match="outside of its FlatBuffer"):
        add_metadata_entry(tiny_tflite_with(move), "NEW", DATA)


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_both_runtimes_give_the_same_bits(tiny_tflite, runtime, tmp_path):
    images = np.random.default_rng(0).integers(-128, 128, (16, 4, 4, 1)).astype(np.int8)
    answers = []
    for name, content in (("old", tiny_tflite), ("new", add_metadata_entry(tiny_tflite, "NEW", DATA))):
        (tmp_path / name).write_bytes(content)
        with Session(host_runtime(runtime), tmp_path / name) as session:
            answers += session.run([images])
    assert np.array_equal(*answers)
