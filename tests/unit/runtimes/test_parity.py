"""Where two runtimes part, node by node, on the real runtimes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from pydantic import TypeAdapter

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import pack, unpack, with_outputs
from pipeline.node_parity import NodeDifference, Parity
from pipeline.runtimes import parity
from pipeline.runtimes.parity import _kept, _origins, compare_nodes, traced_tensors
from pipeline.runtimes.runtime import host_runtime, reference_kernels
from pipeline.runtimes.session import Session

SAMPLES = np.random.default_rng(0).integers(-128, 128, (64, 4, 4, 1)).astype(np.int8)


def run(tmp_path, content):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with Session(host_runtime("litert"), path) as session:
        return session.run([SAMPLES])


def test_every_tensor_that_is_computed_becomes_an_output_and_the_answer_stays(tiny_tflite, tmp_path):
    flat = read_tflite(tiny_tflite)
    traced = traced_tensors(flat)

    assert traced == (3, 5, 8, 9)
    outputs = run(tmp_path, with_outputs(flat, traced))

    assert [array.shape[1:] for array in outputs] == [(4, 4, 4), (64,), (3,), (3,)]
    np.testing.assert_array_equal(outputs[-1], run(tmp_path, tiny_tflite)[0])


def test_a_tensor_without_a_batch_is_compared_whole(tiny_tflite_with, tmp_path):
    def edit(model):
        model.buffers[3].data = np.array([64, 1], np.int32).view(np.uint8)
        graph = model.subgraphs[0]
        graph.tensors[5].shape = [64, 1]
        graph.operators, graph.outputs = graph.operators[:2], [3]

    flat = read_tflite(tiny_tflite_with(edit))

    conv, turned = run(tmp_path, with_outputs(flat, traced_tensors(flat)))

    np.testing.assert_array_equal(conv.reshape(64, 64), turned)


def test_a_runtime_agrees_with_itself(tiny_tflite):
    runtime = host_runtime("litert")

    found = compare_nodes(read_tflite(tiny_tflite), [SAMPLES], runtime, runtime)

    assert (found.samples, found.nodes, found.origins, found.problem) == (64, 4, (), "")
    assert "all 4 nodes give the same bits for 64 samples" in found.words


def test_both_runtimes_of_this_host_are_compared(tiny_tflite):
    found = compare_nodes(
        read_tflite(tiny_tflite), [SAMPLES], host_runtime("litert"), host_runtime("tflite-runtime")
    )

    assert found.problem == ""
    assert found.nodes == 4
    assert all(origin.largest_difference <= 1 for origin in found.origins)
    assert TypeAdapter(Parity).validate_json(TypeAdapter(Parity).dump_json(found)) == found


def test_the_reference_kernels_differ_by_no_more_than_a_step(tiny_tflite):
    found = compare_nodes(read_tflite(tiny_tflite), [SAMPLES], host_runtime("litert"), reference_kernels())

    assert (found.problem, found.nodes, found.is_device) == ("", 4, False)
    assert "reference kernels" in found.other
    assert found.beyond(1) is None


def test_a_runtime_that_cannot_run_it_is_said(tiny_tflite_with):
    flat = read_tflite(tiny_tflite_with(lambda model: setattr(model.operatorCodes[2], "version", 14)))

    found = compare_nodes(flat, [SAMPLES], host_runtime("litert"), host_runtime("tflite-runtime"))

    assert found.first is None
    assert "tflite-runtime" in found.problem
    assert "FULLY_CONNECTED" in found.problem


@pytest.fixture
def outputs(tiny_tflite):
    """The tiny model, and zeros for each of its computed tensors, of four samples."""
    flat = read_tflite(tiny_tflite)
    return flat, {index: np.zeros((4, *flat.tensors[index].shape[1:]), np.int8) for index in (3, 5, 8, 9)}


def test_each_node_that_differs_is_named_with_its_layer(outputs):
    flat, ours = outputs
    theirs = {index: array.copy() for index, array in ours.items()}
    theirs[3][1, 0, 0, 0] = 5
    theirs[9][1:3, 2] = -3

    found = list(_origins(flat, ours, theirs, ("first", "flat", "dense", "last")))

    assert [(o.node, o.operator, o.differing_samples, o.largest_difference) for o in found] == [
        (0, "CONV_2D", 1, 5.0),
        (3, "SOFTMAX", 2, 3.0),
    ]
    assert (found[0].tensor, found[1].layer) == ("conv/relu", "last")
    parity = Parity(reference="one", other="two", samples=4, nodes=4, differing_nodes=2, origins=tuple(found))
    assert parity.words == (
        "two against one: the first node that differs is 0 CONV_2D of layer first, in 1 of 4 samples, "
        "by up to 5 steps; 1 more of 4 differ by themselves"
    )
    assert [parity.beyond(steps) for steps in (2, 4, 5)] == [found[0], found[0], None]


def test_a_wrong_node_is_found_although_every_node_before_it_differs(tiny_tflite, monkeypatch):
    """The other runtime gets other biases in the convolution, and wrong weights in the dense layer."""
    flat = read_tflite(tiny_tflite)
    written = parity.apart

    def spoiled(model, tensors):
        found = written(model, tensors)
        content = unpack(found.content)
        graph = content.subgraphs[0]
        for tensor, values in ((2, np.full(4, 90, np.int32)), (6, np.full(192, 100, np.int8))):
            content.buffers[graph.tensors[tensor].buffer].data = values.view(np.uint8)
        return replace(found, content=pack(content))

    monkeypatch.setattr(parity, "apart", spoiled)
    litert = host_runtime("litert")

    found = compare_nodes(flat, [SAMPLES], litert, litert, {"conv": "mine", "dense": "mine too"})

    assert [(origin.operator, origin.layer) for origin in found.origins] == [
        ("CONV_2D", "mine"),
        ("FULLY_CONNECTED", "mine too"),
    ]
    assert found.beyond(1).layer == "mine too"


def test_of_many_nodes_the_first_beyond_any_limit_is_kept(monkeypatch):
    monkeypatch.setattr(parity, "MAX_ORIGINS", 2)
    steps = (1, 1, 1, 3, 2, 3, 7, 1)
    many = [
        NodeDifference(
            node=node, operator="ADD", layer="", tensor="", differing_samples=1, largest_difference=size,
            in_steps=True,
        )
        for node, size in enumerate(steps)
    ]  # fmt: skip

    assert [origin.node for origin in _kept(many)] == [0, 1, 3, 6]


@pytest.mark.parametrize(("theirs", "gap"), [(np.nan, np.inf), (np.inf, np.inf), (0.5, 0.5)])
def test_nan_and_infinity_differ_from_numbers(outputs, theirs, gap):
    flat, ours = outputs
    ours = {index: array.astype(np.float32) for index, array in ours.items()}
    other = {index: array.copy() for index, array in ours.items()}
    other[9][0, 0] = theirs

    (found,) = _origins(flat, ours, other, [""] * 4)

    assert found.largest_difference == gap


def test_nan_equals_nan(outputs):
    flat, ours = outputs
    both = {index: np.full(array.shape, np.nan, np.float32) for index, array in ours.items()}

    assert list(_origins(flat, both, both, [""] * 4)) == []


def test_few_samples_are_compared_of_a_large_model(tiny_tflite, monkeypatch):
    monkeypatch.setattr("pipeline.runtimes.parity.MAX_BYTES", 500)
    runtime = host_runtime("litert")

    assert compare_nodes(read_tflite(tiny_tflite), [SAMPLES], runtime, runtime).samples == 3


def test_a_model_without_nodes_has_nothing_to_compare(tiny_tflite_with):
    def edit(model):
        model.subgraphs[0].operators, model.subgraphs[0].outputs = [], [0]
        model.operatorCodes = [schema.OperatorCodeT()]

    runtime = host_runtime("litert")
    flat = read_tflite(tiny_tflite_with(edit))

    assert compare_nodes(flat, [SAMPLES], runtime, runtime).problem
