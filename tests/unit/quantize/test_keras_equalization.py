"""Channels of a Keras model get similar ranges before training; what it computes stays."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.quantize.keras_equalization import equalize, equalize_uneven, find_pairs
from pipeline.training.tfmot import tensorflow

INPUTS = np.random.default_rng(2).normal(size=(32, 8, 8, 2)).astype(np.float32)
OCTAVES = 6


@pytest.fixture
def network():
    tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(3)
    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = layers.Conv2D(6, 1, activation="relu", name="point")(layers.MaxPooling2D(2, name="pool")(x))
    x = layers.Dense(8, activation="relu", name="hidden")(layers.Flatten(name="flatten")(x))
    x = layers.Dense(8, activation=tf_keras.activations.relu, name="twice")(x)
    x = layers.Add(name="sum")([x, layers.Dense(8, name="side")(x)])
    return tf_keras.Model(inputs, layers.Dense(4, name="scores")(x))


def spread(network):
    """Spread the scales of the channels between layers over 2^-6 to 2^6, the function unchanged."""
    rng = np.random.default_rng(0)
    scales = np.exp2(rng.uniform(-OCTAVES, OCTAVES, 8)).astype(np.float32)
    norm, depthwise = (network.get_layer(name) for name in ("norm", "depthwise"))
    norm.gamma.assign(norm.gamma * scales)
    norm.beta.assign(norm.beta * scales)
    depthwise.depthwise_kernel.assign(depthwise.depthwise_kernel / scales[:, None])
    hidden, twice = (network.get_layer(name) for name in ("hidden", "twice"))
    hidden.kernel.assign(hidden.kernel * scales)
    hidden.bias.assign(hidden.bias * scales)
    twice.kernel.assign(twice.kernel / scales[:, None])


def magnitudes(network, layer):
    import tf_keras

    values = tf_keras.Model(network.inputs, network.get_layer(layer).output).predict_on_batch(INPUTS)
    return np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)


def test_pairs_have_one_reader_and_nothing_between_that_a_scale_does_not_pass(network):
    pairs = [(pair.writer.name, pair.output.name, pair.reader.name) for pair in find_pairs(network)]

    assert pairs == [
        ("norm", "relu", "depthwise"),
        ("depthwise", "pool", "point"),
        ("point", "flatten", "hidden"),
        ("hidden", "hidden", "twice"),
    ]


def test_spread_channels_are_brought_together_and_the_function_stays(network):
    exact = network.predict_on_batch(INPUTS)
    before = {name: magnitudes(network, name) for name in ("relu", "hidden")}
    spread(network)
    np.testing.assert_allclose(network.predict_on_batch(INPUTS), exact, rtol=1e-3, atol=1e-5)

    octaves = equalize(network, [INPUTS[:16], INPUTS[16:]])

    assert octaves > OCTAVES
    np.testing.assert_allclose(network.predict_on_batch(INPUTS), exact, rtol=1e-3, atol=1e-5)
    for name, given in before.items():
        found = magnitudes(network, name)
        alive = given > 0
        assert found[alive].max() / found[alive].min() < 2 * given[alive].max() / given[alive].min()


def test_a_model_with_even_channels_is_left_as_it_is(network):
    given = network.get_weights()

    assert equalize_uneven(network, [INPUTS]) == 0.0
    assert all(map(np.array_equal, network.get_weights(), given))

    spread(network)
    assert equalize_uneven(network, [INPUTS]) > OCTAVES


def test_without_pairs_nothing_is_done(network):
    import tf_keras

    inputs = tf_keras.layers.Input((5,))
    lone = tf_keras.Model(inputs, tf_keras.layers.Dense(3)(inputs))

    assert equalize(lone, [np.ones((2, 5), np.float32)]) == 0.0
