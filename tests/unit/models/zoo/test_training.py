"""The training loop of the zoo's programs, on a model that trains in no time."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from models.zoo import training
from models.zoo.training import Recipe


@pytest.fixture(scope="module")
def build():
    from pipeline.training.tfmot import tensorflow

    tensorflow()

    def two_classes():
        import keras

        inputs = keras.layers.Input((4,))
        return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(inputs))

    return two_classes


def samples():
    inputs = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    return inputs, (inputs[:, 0] > 0).astype(np.int64)


def unchanged(inputs, rng):
    return inputs


def test_equal_seeds_train_equal_models(build):
    inputs, labels = samples()
    first, again = (
        training.fit(build, inputs, labels, unchanged, Recipe(epochs=3, batch_size=20)) for _ in range(2)
    )

    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_classifier_learns(build):
    inputs, labels = samples()
    model = training.fit(
        build, inputs, labels, unchanged, Recipe(epochs=20, batch_size=20, learning_rate=0.1)
    )

    assert training.accuracy(model, inputs, labels) > 0.95


def test_a_model_is_saved_without_the_optimizer(build, tmp_path):
    inputs, labels = samples()
    model = training.fit(build, inputs, labels, unchanged, Recipe(epochs=1))
    model.save(tmp_path / "whole.keras")
    training.save(model, build, tmp_path / "small.keras")

    sizes = [
        zipfile.ZipFile(tmp_path / name).getinfo("model.weights.h5").file_size
        for name in ("small.keras", "whole.keras")
    ]
    assert sizes[0] < sizes[1]
