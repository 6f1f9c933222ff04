"""Blocks that can be left out: of residual and plain networks, those of known architectures among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import models.zoo
from models.graph import build_model
from models.load import load_model
from models.prepare import graph_of
from pipeline.compress.bypasses import blocks_of, without_block
from pipeline.costing.macs import multiply_accumulates
from pipeline.training.keras_io import start_tensorflow

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def residual():
    """A plain shortcut, a projected one, and a layer that keeps the shape before the outputs."""
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2))
    stem = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU(name="relu")(layers.Conv2D(4, 3, padding="same", name="one")(stem))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, padding="same", name="two")(x))
    x = layers.Add(name="plain")([x, stem])
    y = layers.Conv2D(8, 3, strides=2, padding="same", name="three")(x)
    y = layers.Conv2D(8, 3, padding="same", name="four")(y)
    x = layers.Add(name="projected")([y, layers.Conv2D(8, 1, strides=2, name="shortcut")(x)])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(8, "relu", name="hidden")(x)
    return tf_keras.Model(inputs, layers.Dense(8, "softmax", name="class")(x))


def test_blocks_are_branches_of_sums_and_layers_that_keep_the_shape(residual):
    found = {block.name: block.layers for block in blocks_of(graph_of(residual))}

    assert found == {
        "relu": ("one", "relu"),
        "norm": ("two", "norm"),
        "plain": ("one", "relu", "two", "norm", "plain"),
        "four": ("four",),
        "projected": ("three", "four", "projected"),
        "hidden": ("hidden",),
    }


def test_without_a_block_the_rest_computes_what_its_layers_do(residual):
    graph = graph_of(residual)
    blocks = {block.name: block for block in blocks_of(graph)}
    image = RNG.normal(size=(2, 8, 8, 2)).astype(np.float32)

    small = build_model(without_block(graph, blocks["projected"]))

    stem = x = residual.get_layer("stem")(image)
    for name in ("one", "relu", "two", "norm"):
        x = residual.get_layer(name)(x)
    x = residual.get_layer("shortcut")(stem + x)
    for name in ("pool", "hidden", "class"):
        x = residual.get_layer(name)(x)
    np.testing.assert_allclose(small(image), x, atol=1e-5)
    assert {layer.name for layer in small.layers}.isdisjoint(blocks["projected"].layers)
    removed = sum(multiply_accumulates(graph)[name] for name in ("three", "four"))
    assert blocks["projected"].macs == removed == 16 * 9 * (4 * 8 + 8 * 8)


def test_layers_that_are_called_twice_and_outputs_stay():
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((6,))
    shared = layers.Dense(6, name="shared")
    x = shared(shared(inputs))
    model = tf_keras.Model(inputs, layers.Dense(6, name="output")(x))

    assert blocks_of(graph_of(model)) == []


def test_a_whole_branch_next_to_a_plain_shortcut_goes_with_its_sum_only():
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((6,))
    x = layers.Dense(6, name="stem")(inputs)
    x = layers.Add(name="sum")([x, layers.Dense(6, name="branch")(x)])
    model = tf_keras.Model(inputs, layers.Dense(2, name="output")(x))

    assert [block.layers for block in blocks_of(graph_of(model))] == [("stem",), ("branch", "sum")]


def test_a_run_of_several_layers_is_a_block_where_only_all_of_them_keep_the_shape():
    start_tensorflow(0)
    import tf_keras

    dense = tf_keras.layers.Dense
    model = tf_keras.Sequential(
        [
            tf_keras.layers.Input((6,)),
            dense(16, name="wide"),
            dense(4, name="narrow"),
            dense(16, "relu", name="back"),
            dense(2, name="output"),
        ]
    )

    assert [block.layers for block in blocks_of(graph_of(model))] == [("narrow", "back")]


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2_micro"])
def test_known_architectures_work_without_a_residual_block(name):
    start_tensorflow(0)
    graph = graph_of(load_model(Path(models.zoo.__path__[0]) / f"{name}.keras"))

    blocks = {block.name: block for block in blocks_of(graph)}

    residual = [layer.name for layer in graph.layers.values() if layer.kind == "Add"]
    assert set(residual) <= set(blocks)
    assert build_model(without_block(graph, blocks[residual[1]])).output_shape == (None, 10)
