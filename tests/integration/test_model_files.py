"""Model files other than Keras's own archive: what is rebuilt, what needs trust, and what is refused."""

from __future__ import annotations

import json

import families as f
import formats
import numpy as np
import pytest

SETTINGS = """
[[compress]]
method = "weights"
sparsity = 0.5
min_weights = 0
training = { epochs = 1, min_steps = 1 }

[teacher]
fine_tune = "never"

[quantize]
method = "qat"
training = { epochs = 1, min_steps = 1 }

[calibration]
samples = 32

[validate]
threads = [1]
operators = false

[gates]
accuracy_drop_points = 5.0
enabled = ["accuracy", "float baseline", "full integer", "parity", "finite outputs"]
"""
CUSTOM = """
from tf_keras import layers


class Doubled(layers.Layer):
    def call(self, inputs):
        return inputs * 2.0


objects = {"Doubled": Doubled}
"""


@pytest.fixture
def vector(tmp_path):
    """A folder with data and settings, in which a test saves its model."""
    formats.as_npz(tmp_path, *f.clouds())
    (tmp_path / "pipeline.toml").write_text(
        '[model]\npath = "model.keras"\n[data]\nsource = "data.npz"\n' + SETTINGS
    )
    return tmp_path


@pytest.fixture
def build(vector, pipeline, monkeypatch):
    def run(*arguments):
        monkeypatch.chdir(vector)
        return pipeline("build", "--target", "host", "--out", "out", "--json", *arguments)

    return run


def trained(library):
    keras = f.library(library)
    inputs, labels = f.clouds()
    model = f.vector(keras)
    f.train(model, keras, inputs[: f.TRAIN], labels[: f.TRAIN])
    return model


def with_lambda(keras):
    layers = keras.layers
    inputs = keras.Input((12,))
    x = layers.Dense(24, activation="relu")(inputs)
    x = layers.Lambda(lambda values: values * 2.0, output_shape=(24,))(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    points, labels = f.clouds()
    f.train(model, keras, points[: f.TRAIN], labels[: f.TRAIN])
    return model


def assert_built(ended):
    assert ended.code == 0, ended.err
    report = json.loads(ended.out)["report"]
    assert report["accuracy"][0]["metrics"][0]["baseline"] > 95
    assert report["format"] == "int8"
    return report


def test_a_saved_model_that_tf_keras_wrote_is_rebuilt(vector, build):
    trained("tf_keras").save(vector / "saved", save_format="tf")

    report = assert_built(build("--model", "saved", "--data", "data.npz", "--config", "pipeline.toml"))

    assert "quantization-aware" in {layer["treatment"] for layer in report["layers"]}


def test_an_architecture_with_its_weights_is_rebuilt(vector, build):
    model = trained("keras")
    (vector / "model.json").write_text(model.to_json())
    model.save_weights(vector / "model.weights.h5")

    assert_built(
        build("--model", "model.json", "--set", "model.weights=model.weights.h5", "--config", "pipeline.toml")
    )


def test_a_lambda_is_refused_in_one_line_that_says_how_to_trust_it(vector, build):
    with_lambda(f.library("keras")).save(vector / "model.keras")

    ended = build()

    assert ended.code == 3
    assert "Lambda" in ended.message
    assert "--trust-model" in ended.message
    assert not (vector / "out/release").exists()


def test_a_trusted_lambda_becomes_int8_and_every_layer_says_that_it_was_only_converted(vector, build):
    with_lambda(f.library("keras")).save(vector / "model.keras")

    ended = build("--trust-model")

    report = assert_built(ended)
    assert "warning: " in ended.err
    assert {(layer["kind"], layer["treatment"]) for layer in report["layers"]} == {
        ("InputLayer", "none"),
        ("Dense", "post-training"),
        ("Lambda", "post-training"),
    }


def test_custom_layers_come_from_the_users_own_dict(vector, build):
    keras = f.library("tf_keras")
    (vector / "mine.py").write_text(CUSTOM)
    import importlib.util

    spec = importlib.util.spec_from_file_location("mine", vector / "mine.py")
    mine = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mine)
    inputs = keras.Input((12,))
    x = mine.Doubled()(keras.layers.Dense(24, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    points, labels = f.clouds()
    f.train(model, keras, points[: f.TRAIN], labels[: f.TRAIN])
    model.save(vector / "model.keras")

    refused = build()
    assert refused.code == 3
    assert "Doubled" in refused.message
    assert_built(build("--trust-model", "--set", "model.custom_objects=mine:objects"))


def test_a_layer_that_tf_mot_does_not_know_is_converted_all_the_same(vector, build):
    keras = f.library("keras")
    layers = keras.layers
    inputs = keras.Input((12,))
    x = layers.LayerNormalization(name="norm")(layers.Dense(24, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    points, labels = f.clouds()
    f.train(model, keras, points[: f.TRAIN], labels[: f.TRAIN])
    model.save(vector / "model.keras")

    ended = build()
    report = json.loads(ended.out)["report"] if ended.code == 0 else {}

    assert ended.code == 0, ended.err
    assert report["format"] in {"int8", "int8 with float operators"}
    assert np.isfinite(report["accuracy"][0]["metrics"][0]["quantized"])
