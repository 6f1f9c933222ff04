"""The layer of our own survives being written as JSON and being prepared."""

from __future__ import annotations

import numpy as np

from models.layers import own_layers
from models.load import load_model
from models.prepare import prepare


def test_a_model_with_operations_is_opened_again_and_prepared(save, outputs):
    import keras
    import tf_keras

    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs[:, ::2])
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.ops.min(x, axis=(1, 2))))
    loaded = load_model(save(model, ".keras"))

    copy = tf_keras.models.model_from_json(loaded.to_json(), custom_objects=own_layers())
    copy.set_weights(loaded.get_weights())

    samples = np.random.default_rng(0).random((2, 6, 6, 3), np.float32)
    np.testing.assert_allclose(outputs(copy, samples)[0], outputs(model, samples)[0], atol=1e-5)
    prepared, *_ = prepare(copy)
    np.testing.assert_allclose(outputs(prepared, samples)[0], outputs(model, samples)[0], atol=1e-5)
    assert "Operation" in {type(layer).__name__ for layer in prepared.layers}
