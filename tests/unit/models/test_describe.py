"""What a model takes and gives is told from its layers."""

from __future__ import annotations

import pytest

from models.describe import input_ports, output_ports
from models.load import load_model
from models.ports import Port


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_ports_have_the_names_shapes_dtypes_and_activations_of_the_ends(suffix, save):
    import keras

    layers = keras.layers
    words, image = keras.Input((None,), dtype="int32", name="words"), keras.Input((8, 8, 3), name="image")
    text = layers.GlobalMaxPooling1D()(layers.Embedding(9, 4)(words))
    both = layers.Concatenate()([text, layers.Flatten()(image)])
    named = layers.Reshape((2, 3), name="named")(layers.Dense(6, activation="sigmoid")(both))
    plain = layers.Dense(2, name="plain")(both)
    model = keras.Model([words, image], [layers.Softmax(name="soft")(plain), named, plain])

    loaded = load_model(save(model, suffix))

    assert input_ports(loaded) == (Port("words", (None,), "int32"), Port("image", (8, 8, 3)))
    assert output_ports(loaded) == (
        Port("soft", (2,), "float32", "softmax"),
        Port("named", (2, 3), "float32", "sigmoid"),
        Port("plain", (2,), "float32", "linear"),
    )


def test_integers_that_index_no_table_are_numbers(save):
    import keras

    layers = keras.layers
    image, words = (
        keras.Input((4, 4, 1), dtype="uint8", name="image"),
        keras.Input((6,), dtype="int32", name="words"),
    )
    table = layers.Embedding(9, 2)(layers.Reshape((2, 3))(words))
    scaled = layers.Rescaling(1 / 255)(image)
    both = layers.Concatenate()([layers.Flatten()(scaled), layers.Flatten()(table)])

    loaded = load_model(save(keras.Model([image, words], layers.Dense(2)(both)), ".keras"))

    assert input_ports(loaded) == (
        Port("image", (4, 4, 1), integers=True),
        Port("words", (6,), "int32"),
    )


def test_a_layer_that_gives_two_outputs_names_them_apart(save):
    import keras

    layers = keras.layers
    left, right = keras.Input((3,)), keras.Input((3,))
    head = layers.Dense(2, activation="relu", name="head")
    added = layers.Add(name="sum")([left, right])

    loaded = load_model(save(keras.Model([left, right], [head(left), head(right), added]), ".keras"))

    assert [(port.name, port.activation) for port in output_ports(loaded)] == [
        ("head", "relu"),
        ("head_1", "relu"),
        ("sum", ""),
    ]


def test_dicts_of_inputs_and_outputs_are_taken_in_the_order_of_their_keys(save, outputs):
    import keras
    import numpy as np

    first, second = keras.Input((3,), name="b"), keras.Input((4,), name="a")
    ends = {"z": keras.layers.Dense(1, name="z")(first), "y": keras.layers.Dense(2, name="y")(second)}
    model = keras.Model({"b": first, "a": second}, ends)

    loaded = load_model(save(model, ".keras"))

    assert [port.name for port in input_ports(loaded)] == ["a", "b"]
    assert [port.name for port in output_ports(loaded)] == ["y", "z"]
    x = {"a": np.ones((2, 4), np.float32), "b": np.ones((2, 3), np.float32)}
    expected = model(x)
    for name, got in zip("yz", outputs(loaded, [x["a"], x["b"]]), strict=True):
        np.testing.assert_allclose(got, np.asarray(expected[name]), atol=1e-6)
