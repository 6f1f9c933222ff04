"""Recurrent layers are unrolled where they are short enough, and named where int8 is not to be had."""

from __future__ import annotations

from importlib import import_module

import pytest

from models.prepare import prepare, without_int8
from pipeline.training.tfmot import tensorflow


@pytest.fixture
def library():
    tensorflow()
    return import_module("tf_keras")


@pytest.fixture
def sequential(library, randomised):
    """Build a Sequential with random weights."""

    def build(shape, *layers):
        return randomised(library.Sequential([library.Input(shape), *layers]))

    return build


def kinds(model):
    return [type(layer).__name__ for layer in model.layers][1:]


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_layers_are_unrolled_in_both_directions(sequential, library, kind, merge, sequences):
    layers = library.layers
    make = getattr(layers, kind)
    both = layers.Bidirectional(make(4, return_sequences=sequences), merge_mode=merge)
    model = sequential((6, 3), make(3, return_sequences=True, go_backwards=True), both)

    prepared, rewrites, made_of = prepare(model)

    recurrent = [layer for layer in prepared.layers if type(layer).__name__ == kind]
    assert "Bidirectional" not in kinds(prepared)
    assert [layer.unroll for layer in recurrent] == [True] * 3
    assert len(rewrites) == 2
    assert set(made_of.values()) == {model.layers[-1].name}
    assert without_int8(prepared) == {}


@pytest.mark.parametrize(("kind", "products"), [("LSTM", 2), ("GRU", 6), ("SimpleRNN", 2)])
def test_a_step_multiplies_as_often_as_its_file_needs(sequential, library, kind, products):
    model = sequential((6, 3), getattr(library.layers, kind)(4))

    prepared, *_ = prepare(model)

    tf = tensorflow()
    graph = tf.function(prepared).get_concrete_function(tf.TensorSpec((1, 6, 3))).graph
    assert sum(node.type == "MatMul" for node in graph.get_operations()) == 6 * products


def test_a_bidirectional_layer_used_twice_keeps_one_set_of_weights(library, randomised):
    layers = library.layers
    both, inputs = layers.Bidirectional(layers.GRU(3, return_sequences=True)), library.Input((5, 6))
    model = randomised(library.Model(inputs, both(both(inputs))))

    prepared, *_ = prepare(model)

    assert prepared.count_params() == model.count_params()


@pytest.mark.parametrize("steps", [200, None])
def test_a_long_recurrent_layer_stays_and_is_named(sequential, library, steps):
    layers = library.layers
    loop = sequential((steps, 2), layers.GRU(3, name="memory"))
    pair = sequential((steps, 2), layers.LSTM(3, return_sequences=True), layers.LSTM(3))
    both = sequential((steps, 2), layers.Bidirectional(layers.LSTM(3)))
    one = sequential((steps, 2), layers.LSTM(3))

    named = [list(without_int8(prepare(model)[0])) for model in (loop, pair, both, one)]

    assert named == [["memory"], [layer.name for layer in pair.layers], [both.layers[0].name], []]
