"""Structured pruning: what goes together, and that a smaller model computes what the masked one does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from models.graph import build_model
from models.prepare import graph_of
from pipeline.compress import channel_removal
from pipeline.compress.channel_graph import ChannelGraph
from pipeline.compress.channel_removal import TOLERANCE, difference, smaller_model, without
from pipeline.errors import StageError
from pipeline.training.keras_io import start_tensorflow

RNG = np.random.default_rng(0)
GONE = (1, 4)  # of the six channels of layer "a"


class Coupling(NamedTuple):
    """A net with a layer "a" of six channels.

    Attributes:
        shape: of its input.
        build: makes its output of the input, with the module ``tf_keras.layers``.
        readers: where the channels ``GONE`` are read: layer, array, axis and places, found by hand.
        lost: how many channels each layer loses with them.
    """

    shape: tuple[int, ...]
    build: object
    readers: tuple[tuple[str, int, int, tuple[int, ...]], ...]
    lost: dict[str, int]


def normalized(keras, x):
    return keras.Activation("sigmoid")(keras.BatchNormalization()(keras.Conv2D(6, 3, name="a")(x)))


def depthwise(keras, x):
    x = keras.DepthwiseConv2D(3, depth_multiplier=2, name="d")(keras.Conv2D(6, 1, name="a")(x))
    return keras.Conv2D(3, 1, name="r")(keras.LeakyReLU()(x))


def separable(keras, x):
    return keras.SeparableConv2D(3, 3, depth_multiplier=2, name="r")(keras.Conv2D(6, 1, name="a")(x))


def transposed(keras, x):
    x = keras.Conv2DTranspose(6, 3, strides=2, activation="relu", name="a")(x)
    return keras.Conv2DTranspose(3, 2, name="r")(x)


def flattened(keras, x):
    x = keras.MaxPooling2D()(keras.Conv2D(6, 3, padding="same", name="a")(x))
    return keras.Dense(3, name="r")(keras.Flatten()(x))


def residual(keras, x):
    x = keras.ReLU()(keras.BatchNormalization()(keras.Conv2D(6, 1, name="a")(x)))
    branch = keras.BatchNormalization()(keras.Conv2D(6, 3, padding="same", name="b")(x))
    return keras.Conv2D(3, 1, name="r")(keras.ReLU()(keras.Add()([x, branch])))


def merged(keras, x):
    a, b, c = (keras.Conv2D(6, 1, activation="tanh", name=name)(x) for name in "abc")
    x = keras.Average()([keras.Maximum()([a, b]), keras.Subtract()([b, c])])
    return keras.Conv2D(3, 1, name="r")(x)


def concatenated(keras, x):
    x = keras.Concatenate()([keras.Conv2D(5, 1, name="b")(x), keras.Conv2D(6, 1, name="a")(x)])
    return keras.Conv2D(3, 1, name="r")(keras.BatchNormalization(scale=False)(x))


def squeezed(keras, x):
    a = keras.Conv2D(6, 1, activation="relu", name="a")(x)
    x = keras.Dense(4, activation="relu", name="s")(keras.GlobalAveragePooling2D()(a))
    x = keras.Reshape((1, 1, 6))(keras.Dense(6, activation="sigmoid", name="e")(x))
    return keras.Conv2D(3, 1, name="r")(keras.Multiply()([a, x]))


def squeezed_in_place(keras, x):
    a = keras.Conv2D(6, 1, activation="relu", name="a")(x)
    x = keras.Conv2D(4, 1, name="s")(keras.GlobalAveragePooling2D(keepdims=True)(a))
    return keras.Conv2D(3, 1, name="r")(keras.Multiply()([a, keras.Conv2D(6, 1, name="e")(x)]))


def decoded(keras, x):
    x = keras.Reshape((2, 2, 6))(keras.Dense(24, name="a")(x))
    return keras.Conv2D(3, 1, name="r")(keras.UpSampling2D()(x))


def one_for_all(keras, x):
    a, one = keras.Conv2D(6, 1, name="a")(x), keras.Conv2D(1, 1, activation="sigmoid", name="one")(x)
    return keras.Conv2D(3, 1, name="r")(keras.ZeroPadding2D()(keras.Multiply()([one, a])))


def rectified(keras, x):
    x = keras.PReLU(shared_axes=[1, 2])(keras.Conv2D(6, 1, name="a")(x))
    return keras.Conv2D(3, 1, name="r")(keras.PReLU()(x))


def normalized_by_layer(keras, x):
    x = keras.LayerNormalization(center=False)(keras.Dense(6, name="a")(x))
    return keras.Dense(3, name="r")(keras.LayerNormalization(scale=False)(x))


def units(kind, **settings):
    def build(keras, x):
        x = getattr(keras, kind)(6, return_sequences=True, name="a", **settings)(x)
        return keras.LSTM(3, unroll=True, name="r")(x)

    return build


def states(keras, x):
    _, *state = keras.LSTM(6, return_state=True, unroll=True, name="a")(x)
    x = keras.LSTM(6, unroll=True, name="b")(x, initial_state=state)
    return keras.Dense(3, name="r")(x)


def called_twice(keras, x):
    shared = keras.Conv2D(6, 3, padding="same", name="a")
    once = shared(x)
    back = keras.Conv2D(2, 1, name="b")(once)
    return keras.Conv2D(3, 1, name="r")(keras.Concatenate(axis=1)([once, shared(back)]))


def looked_up(keras, x):
    return keras.Dense(3, name="r")(keras.GlobalMaxPooling1D()(keras.Embedding(9, 6, name="a")(x)))


def series(keras, x):
    x = keras.AveragePooling1D()(keras.Conv1D(6, 3, padding="causal", name="a")(x))
    return keras.Conv1D(3, 2, name="r")(keras.UpSampling1D()(keras.SpatialDropout1D(0.5)(x)))


IMAGE, SERIES = (6, 6, 2), (5, 2)
R = ("r", 0, 2, GONE)
COUPLINGS = {
    "batch normalization, sigmoid": Coupling(
        IMAGE, lambda k, x: k.Conv2D(3, 1, name="r")(normalized(k, x)), (R,), {"a": 2}
    ),
    "depthwise": Coupling(IMAGE, depthwise, (("r", 0, 2, (2, 3, 8, 9)),), {"a": 2, "d": 4}),
    "separable": Coupling(IMAGE, separable, (("r", 1, 2, (2, 3, 8, 9)),), {"a": 2}),
    "transposed": Coupling(IMAGE, transposed, (("r", 0, 3, GONE),), {"a": 2}),
    "flatten": Coupling(
        IMAGE,
        flattened,
        (("r", 0, 0, tuple(6 * place + i for place in range(9) for i in GONE)),),
        {"a": 2},
    ),
    "residual": Coupling(IMAGE, residual, (("b", 0, 2, GONE), R), {"a": 2, "b": 2}),
    "other merges": Coupling(IMAGE, merged, (R,), {"a": 2, "b": 2, "c": 2}),
    "concatenation": Coupling(IMAGE, concatenated, (("r", 0, 2, (6, 9)),), {"a": 2}),
    "squeeze and excite": Coupling(IMAGE, squeezed, (("s", 0, 0, GONE), R), {"a": 2, "e": 2}),
    "squeeze and excite with axes kept": Coupling(
        IMAGE, squeezed_in_place, (("s", 0, 2, GONE), R), {"a": 2, "e": 2}
    ),
    "reshape of dense features": Coupling((4,), decoded, (R,), {"a": 8}),
    "a map for all channels": Coupling(IMAGE, one_for_all, (R,), {"a": 2}),
    "PReLU": Coupling(IMAGE, rectified, (R,), {"a": 2}),
    "SimpleRNN": Coupling(SERIES, units("SimpleRNN"), (("a", 1, 0, GONE), ("r", 0, 0, GONE)), {"a": 2}),
    "LSTM": Coupling(SERIES, units("LSTM"), (("a", 1, 0, GONE), ("r", 0, 0, GONE)), {"a": 2}),
    "GRU, unrolled": Coupling(
        SERIES, units("GRU", unroll=True), (("a", 1, 0, GONE), ("r", 0, 0, GONE)), {"a": 2}
    ),
    "GRU that resets before": Coupling(
        SERIES, units("GRU", reset_after=False), (("a", 1, 0, GONE), ("r", 0, 0, GONE)), {"a": 2}
    ),
    "states of an encoder": Coupling(
        SERIES, states, (("a", 1, 0, GONE), ("b", 1, 0, GONE), ("r", 0, 0, GONE)), {"a": 2, "b": 2}
    ),
    "a layer called twice": Coupling(IMAGE, called_twice, (("b", 0, 2, GONE), R), {"a": 2}),
    "embedding": Coupling((5,), looked_up, (("r", 0, 0, GONE),), {"a": 2}),
    "one dimension": Coupling((8, 2), series, (("r", 0, 1, GONE),), {"a": 2}),
}


def network_of(shape, build):
    """Build a net with random weights, so that nothing is zero by chance."""
    start_tensorflow(0)
    import tf_keras

    inputs = tf_keras.Input(shape)
    network = tf_keras.Model(inputs, build(tf_keras.layers, inputs))
    for weight in network.weights:
        is_variance = "variance" in weight.name
        weight.assign(
            RNG.uniform(0.2, 0.8, weight.shape) if is_variance else RNG.normal(0, 0.5, weight.shape)
        )
    return network


def samples_of(shape):
    size = (4, *shape)
    return [RNG.integers(0, 9, size) if shape == (5,) else RNG.normal(size=size).astype(np.float32)]


def without_channels(network, layer="a", places=GONE):
    """Return the channel graph, and which channels go with those at some places of a layer's output."""
    channels = ChannelGraph.of(graph_of(network))
    removed = np.zeros(channels.channels, bool)
    tensor = next(i for i, call in enumerate(channels.graph.calls) if call.layer == layer)
    removed[channels.tensors[tensor][list(places)]] = True
    return channels, removed


@pytest.mark.parametrize("coupling", COUPLINGS.values(), ids=COUPLINGS)
def test_a_model_without_channels_is_the_model_in_which_nothing_reads_them(coupling):
    network = network_of(coupling.shape, coupling.build)
    inputs = samples_of(coupling.shape)
    before = network(inputs[0]).numpy()
    channels, removed = without_channels(network)

    small = smaller_model(channels, removed, inputs)

    for layer, index, axis, places in coupling.readers:
        arrays = network.get_layer(layer).get_weights()
        np.moveaxis(arrays[index], axis, 0)[list(places)] = 0
        network.get_layer(layer).set_weights(arrays)
    expected, found = network(inputs[0]).numpy(), small(inputs[0]).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(before - expected).max() > 1e-3
    for layer in network.layers:
        lost = coupling.lost.get(layer.name, 0)
        width = layer.get_output_at(0)
        if layer.weights and not isinstance(width, list):
            is_normalization = "normalization" in layer.name or "p_re_lu" in layer.name
            now = small.get_layer(layer.name).get_output_at(0)
            assert is_normalization or width.shape[-1] - now.shape[-1] == lost
    assert small.count_params() < network.count_params()
    assert [tensor.shape for tensor in small.outputs] == [tensor.shape for tensor in network.outputs]


def test_a_layer_normalization_normalizes_the_channels_that_are_left():
    network = network_of((3,), normalized_by_layer)
    inputs = samples_of((3,))
    channels, removed = without_channels(network)

    found = smaller_model(channels, removed, inputs)(inputs[0]).numpy()

    kept = [0, 2, 3, 5]
    (kernel, bias), (gamma,), (beta,), (last, offset) = (each.get_weights() for each in network.layers[1:])
    x = (inputs[0] @ kernel + bias)[:, kept]
    for scale, shift in ((gamma[kept], 0), (1, beta[kept])):
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-3) * scale + shift
    np.testing.assert_allclose(found, x @ last[kept] + offset, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda k, a: k.Softmax(name="s")(a), "'s' (Softmax) is not known"),
        (lambda k, a: k.Activation("softmax", name="s")(a), "'s' (Activation) depends on all of them"),
        (lambda k, a: k.GroupNormalization(2, name="n")(a), "'n' (GroupNormalization) is not known"),
        (lambda k, a: k.BatchNormalization(axis=1, name="n")(a), "'n' (BatchNormalization) normalizes along"),
        (lambda k, a: k.Permute((3, 1, 2), name="p")(a), "'p' (Permute) moves channels"),
        (lambda k, a: k.Conv2D(6, 3, groups=2, name="g")(a), "'g' (Conv2D) has groups"),
        (lambda k, a: k.Reshape((54, 4), name="s")(a), "'s' (Reshape) splits channels"),
        (lambda k, a: k.Reshape((9, 24), name="s")(a), ""),
        (lambda k, a: k.MultiHeadAttention(2, 3, name="m")(a, a), "'m' (MultiHeadAttention) is not known"),
    ],
)
def test_channels_that_a_layer_mixes_are_kept_and_the_layer_is_named(build, reason):
    def read(keras, x):
        return keras.Dense(3, name="r")(build(keras, keras.Conv2D(6, 1, name="a")(x)))

    channels = ChannelGraph.of(graph_of(network_of(IMAGE, read)))

    [group] = [group for group in channels.groups if "a" in group.layers]
    assert group.kept.startswith(reason)
    assert bool(group.kept) == bool(reason)


def test_inputs_and_outputs_keep_their_channels():
    def read(keras, x):
        added = keras.Add()([keras.Conv2D(2, 1, name="a")(x), x])
        return keras.ReLU()(keras.Conv2D(3, 1, name="r")(added))

    channels = ChannelGraph.of(graph_of(network_of(IMAGE, read)))

    assert {group.layers: group.kept for group in channels.groups if group.layers} == {
        ("a",): "they are inputs of the model",
        ("r",): "they are outputs of the model",
    }


def test_a_smaller_model_that_computes_something_else_is_refused_and_the_layer_named(monkeypatch):
    network = network_of(IMAGE, residual)
    channels, removed = without_channels(network)
    right = without(channels, removed)
    layer = right.layers["b"]
    swapped = (layer.weights[0][..., ::-1], *layer.weights[1:])  # filters in another order than their readers
    right.layers["b"] = type(layer)(layer.name, layer.kind, layer.config, swapped)
    monkeypatch.setattr(channel_removal, "without", lambda *_: right)

    with pytest.raises(StageError, match=r"without 2 channels the outputs differ by .* from layer 'b' on"):
        smaller_model(channels, removed, samples_of(IMAGE))


def test_nothing_removed_leaves_the_model_as_it_was():
    network = network_of(IMAGE, residual)
    channels, removed = without_channels(network, places=())

    small = build_model(without(channels, removed))

    assert difference(channels, removed, small, samples_of(IMAGE)) <= TOLERANCE
    for ours, theirs in zip(small.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
