"""Merging of linear layers: what is merged computes the same, and the rest stays."""

from __future__ import annotations

import numpy as np
import pytest

from models.graph import build_model
from models.prepare import graph_of
from pipeline.compress.channel_removal import outputs_distance
from pipeline.compress.collapsing import collapse
from pipeline.training.keras_io import start_tensorflow

RNG = np.random.default_rng(0)


def randomized(model):
    """Give a model biases and statistics that matter, and none of the kernels zeros."""
    for layer in model.layers:
        layer.set_weights([RNG.uniform(0.2, 0.6, each.shape) for each in layer.get_weights()])
    return model


def network(*layers_of, shape=(9, 11, 4)):
    start_tensorflow(0)
    import tf_keras

    return randomized(tf_keras.Sequential([tf_keras.layers.Input(shape), *layers_of]))


def conv(filters, size, **settings):
    import tf_keras

    return tf_keras.layers.Conv2D(filters, size, **settings)


def norm():
    import tf_keras

    return tf_keras.layers.BatchNormalization(name="norm")


CHAINS = {
    "window, pointwise": lambda: (conv(6, 3, name="one"), conv(4, 1, name="two", activation="relu")),
    "window with strides and borders, pointwise": lambda: (
        conv(6, 3, strides=2, padding="same", name="one"), conv(5, 1, name="two"),
    ),
    "dilated window, pointwise without bias": lambda: (
        conv(6, 3, dilation_rate=2, name="one"), conv(4, 1, use_bias=False, name="two"),
    ),
    "pointwise, window that never pads": lambda: (conv(8, 1, name="one"), conv(4, 3, strides=2, name="two")),
    "pointwise without bias, window": lambda: (
        conv(8, 1, use_bias=False, name="one"), conv(4, 3, padding="same", name="two"),
    ),
    "pointwise, pointwise": lambda: (conv(8, 1, name="one"), conv(4, 1, name="two")),
    "a normalization between": lambda: (conv(8, 3, name="one"), norm(), conv(4, 1, name="two")),
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_two_convolutions_become_one_that_computes_the_same(chain):
    start_tensorflow(0)
    given = network(*CHAINS[chain]())
    inputs = [RNG.normal(size=(3, 9, 11, 4)).astype(np.float32)]

    graph, merged = collapse(graph_of(given))

    made = build_model(graph)
    assert [layer.name for layer in made.layers][1:] == ["two"]
    assert merged == {"two": ("one", "norm") if "normalization" in chain else ("one",)}
    assert made.get_layer("two").activation is given.get_layer("two").activation
    assert outputs_distance(made, given, inputs) <= 1e-5


def test_dense_layers_are_merged_until_an_activation():
    start_tensorflow(0)
    import tf_keras

    dense = tf_keras.layers.Dense
    chain = (dense(30, name="a"), dense(20, name="b"), dense(6, "relu", name="c"), dense(4, name="d"))
    given = network(*chain, shape=(5, 12))
    inputs = [RNG.normal(size=(3, 5, 12)).astype(np.float32)]

    graph, merged = collapse(graph_of(given))

    assert list(graph.layers)[1:] == ["c", "d"]
    assert merged == {"c": ("a", "b")}
    assert outputs_distance(build_model(graph), given, inputs) <= 1e-5


NOT_MERGED = {
    "an activation between": lambda: (conv(8, 3, activation="relu", name="one"), conv(4, 1, name="two")),
    "a bias that borders would not see": lambda: (
        conv(8, 1, name="one"), conv(4, 3, padding="same", name="two"),
    ),
    "a product that costs more": lambda: (conv(1, 1, name="one"), conv(16, 1, name="two")),
    "positions that are left out": lambda: (conv(8, 3, name="one"), conv(4, 1, strides=2, name="two")),
    "two windows": lambda: (conv(8, 3, name="one"), conv(4, 3, name="two")),
    "groups": lambda: (conv(8, 3, groups=2, name="one"), conv(4, 1, name="two")),
}  # fmt: skip


@pytest.mark.parametrize("chain", NOT_MERGED)
def test_layers_stay_where_a_merger_is_not_exact_or_costs_more(chain):
    start_tensorflow(0)
    graph = graph_of(network(*NOT_MERGED[chain]()))

    found = collapse(graph)

    assert found.merged == {}
    assert found.graph == graph


def test_layers_stay_that_others_read_or_whose_weights_are_bound():
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((4,))
    x = layers.Dense(4, name="one")(inputs)
    y = layers.Dense(4, name="two")(x)
    read = tf_keras.Model(inputs, layers.Add()([x, y]))
    shared = layers.Dense(4, name="shared")
    twice = tf_keras.Model(inputs, shared(shared(inputs)))
    chain = tf_keras.Model(inputs, y)

    for model, bound in ((read, ()), (twice, ()), (chain, ("one",)), (chain, ("two",))):
        assert collapse(graph_of(model), bound).merged == {}
    assert collapse(graph_of(chain)).merged == {"two": ("one",)}


def test_normalizations_are_folded_where_that_is_asked_for():
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    given = network(
        conv(8, 3, use_bias=False, name="conv"), norm(), layers.ReLU(name="relu"),
        layers.DepthwiseConv2D(3, name="depthwise"), layers.BatchNormalization(name="other"), layers.ReLU(),
        layers.BatchNormalization(name="alone"),
    )  # fmt: skip
    inputs = [RNG.normal(size=(3, 9, 11, 4)).astype(np.float32)]

    assert collapse(graph_of(given)).merged == {}
    graph, merged = collapse(graph_of(given), fold_norms=True)

    assert merged == {"conv": ("norm",), "depthwise": ("other",)}
    assert "alone" in graph.layers
    assert outputs_distance(build_model(graph), given, inputs) <= 1e-5
