"""Structures that Keras nests and the bridge lays out flat."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from models.errors import ModelError
from models.load import load_model
from models.prepare import prepare

FILES = [(library, suffix) for library in ("keras", "tf_keras") for suffix in (".keras", ".h5")]
FILM = (5, 8, 6, 3)


def same(outputs, expected_model, model, x):
    for expected, got in zip(outputs(expected_model, x), outputs(model, x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def per_frame(library, *, functional):
    """A small convolutional network with arrays of both kinds, trainable and not."""
    layers = library.layers
    parts = [
        layers.Conv2D(4, 3, activation="relu"),
        layers.BatchNormalization(),
        library.Sequential([library.Input((6, 4, 4)), layers.Conv2D(3, 3), layers.BatchNormalization()]),
        layers.GlobalAveragePooling2D(),
    ]
    if not functional:
        return library.Sequential([library.Input(FILM[1:]), *parts])
    inputs = x = library.Input(FILM[1:])
    for part in parts:
        x = part(x)
    return library.Model(inputs, x)


def film_model(library, randomised, *, functional):
    layers = library.layers
    inner = randomised(per_frame(library, functional=functional))
    inputs = library.Input(FILM)
    x = layers.LSTM(4)(layers.TimeDistributed(inner)(inputs))
    return library.Model(inputs, layers.Dense(2, activation="softmax")(x))


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize(("library_name", "suffix"), [*FILES, ("tf_keras", "")])
def test_a_model_for_each_step_is_laid_out_flat(
    library_name, suffix, functional, randomised, save, outputs, rng
):
    model = film_model(import_module(library_name), randomised, functional=functional)
    x = rng.normal(size=(3, *FILM)).astype(np.float32)

    loaded = load_model(save(model, suffix))
    prepared, _ = prepare(loaded)

    same(outputs, model, loaded, x)
    same(outputs, model, prepared, x)
    assert not {type(layer).__name__ for layer in loaded.layers} & {"TimeDistributed", "Functional"}


def test_a_model_for_each_step_that_is_still_nested_can_be_prepared(randomised, outputs, rng, legacy_keras):
    import tf_keras

    model = film_model(tf_keras, randomised, functional=True)

    prepared, _ = prepare(model)

    same(outputs, model, prepared, rng.normal(size=(3, *FILM)).astype(np.float32))


def test_a_model_for_each_of_an_open_number_of_steps_is_refused(save, legacy_keras):
    import tf_keras

    inner = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(3)])
    inputs = tf_keras.Input((None, 4))
    model = tf_keras.Model(inputs, tf_keras.layers.TimeDistributed(inner, name="each")(inputs))

    with pytest.raises(ModelError, match=r"'each' \(TimeDistributed\): give .* a fixed number of steps"):
        load_model(save(model, ".h5"))
