"""The formats besides .keras and .h5: SavedModel folders, architecture with weights, unpacked archives."""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from contextlib import suppress
from importlib import import_module

import numpy as np
import pytest

from models.errors import ModelError
from models.load import load_model
from models.summary import describe_model


def mixed(library):
    """Nested models, a shared layer, a wrapper of two layers, partly frozen."""
    layers = library.layers
    inputs = library.Input((8, 4), name="series")
    inner = library.Sequential([layers.Conv1D(3, 3), layers.BatchNormalization()], name="inner")
    x = inner(inputs)
    shared = layers.Dense(3, name="shared")
    x = layers.Add()([shared(x), shared(shared(x))])
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True))(x)
    x = layers.LayerNormalization()(x * 2.0 + 1.0)
    inner.layers[0].trainable = False
    return library.Model(inputs, layers.Dense(2, activation="softmax")(layers.Flatten()(x)))


def save_quietly(save, *arguments, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return save(*arguments, **keywords)


@pytest.fixture
def saved(randomised, tmp_path):
    """A model of tf_keras and the SavedModel folder that it wrote."""
    model = randomised(mixed(import_module("tf_keras")))
    save_quietly(model.save, tmp_path / "saved", save_format="tf")
    return model, tmp_path / "saved"


@pytest.fixture
def small(tmp_path, legacy_keras):
    """The SavedModel folder of one dense layer."""
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(2)])
    save_quietly(model.save, tmp_path / "small", save_format="tf")
    return tmp_path / "small"


def assert_equal(loaded, model, outputs):
    x = np.random.default_rng(0).normal(size=(3, 8, 4)).astype(np.float32)
    np.testing.assert_allclose(outputs(loaded, x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)


def test_a_saved_model_of_tf_keras_computes_the_same(saved, outputs):
    model, folder = saved

    assert_equal(load_model(folder), model, outputs)
    assert describe_model(folder).parameters == model.count_params()


def test_a_lambda_in_a_saved_model_never_runs(tmp_path, legacy_keras):
    import tf_keras

    marker = tmp_path / "marker"
    written = str(marker)

    def sneaky(x):
        with open(written, "w") as file:  # noqa: PTH123 - tf_keras keeps what the function refers to as JSON
            file.write("run")
        return x

    layer = tf_keras.layers.Lambda(sneaky, name="sneaky")
    model = tf_keras.Sequential([tf_keras.Input((3,)), layer, tf_keras.layers.Dense(2)])
    save_quietly(model.save, tmp_path / "saved", save_format="tf")
    marker.unlink()

    with pytest.raises(ModelError, match=r"'sneaky' \(Lambda\)"):
        load_model(tmp_path / "saved")
    assert not marker.exists()


@pytest.mark.parametrize("library_name", ["keras", "tf_keras", "tensorflow"])
def test_a_saved_model_of_functions_only_is_told_what_to_do(library_name, tmp_path, legacy_keras):
    library = import_module(library_name)
    if library_name == "tensorflow":
        library.saved_model.save(library.Module(), tmp_path / "saved")
    else:
        model = library.Sequential([library.Input((3,)), library.layers.Dense(2)])
        save_quietly(model.export, tmp_path / "saved")

    with pytest.raises(ModelError, match=r"without Keras's description.*--trust-model"):
        load_model(tmp_path / "saved")


def test_a_subclassed_model_in_a_saved_model_is_told_what_to_do(tmp_path, legacy_keras):
    import tf_keras

    class Net(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = tf_keras.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    net = Net()
    net(np.ones((1, 3), np.float32))
    save_quietly(net.save, tmp_path / "saved", save_format="tf")

    with pytest.raises(ModelError, match="'Net' is a subclassed model"):
        load_model(tmp_path / "saved")


@pytest.mark.parametrize("name", ["keras_metadata.pb", "variables/variables.index", "saved_model.pb"])
def test_a_damaged_saved_model_never_gets_past_the_errors(name, small):
    whole = (small / name).read_bytes()
    rng = np.random.default_rng(0)
    for index in range(30):
        damaged = bytearray(whole[: index * len(whole) // 30] if index % 2 else whole)
        for place in rng.integers(0, len(damaged), 10) if damaged else []:
            damaged[place] ^= int(rng.integers(1, 256))
        (small / name).write_bytes(damaged)
        with suppress(ModelError):
            load_model(small)


@pytest.mark.parametrize("name", ["variables/variables.index", "variables/variables.data-00000-of-00001"])
def test_links_and_missing_parts_of_a_saved_model_are_refused(name, small, tmp_path):
    shutil.move(small / name, tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="damaged"):
        load_model(small)
    (small / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="symbolic link"):
        load_model(small)


@pytest.mark.parametrize(
    ("library_name", "suffix"),
    [("keras", ".weights.h5"), ("tf_keras", ".weights.h5"), ("tf_keras", ".h5"), ("keras", "whole")],
)
def test_an_architecture_with_its_weights_computes_the_same(
    library_name, suffix, randomised, save, tmp_path, outputs
):
    model = randomised(mixed(import_module(library_name)))
    architecture, weights = tmp_path / "model.json", tmp_path / f"model{suffix}"
    architecture.write_text(model.to_json())
    if suffix == "whole":
        weights = save(model, ".h5")
    else:
        save_quietly(model.save_weights, weights)

    assert_equal(load_model(architecture, weights), model, outputs)
    assert describe_model(architecture, weights).parameters == model.count_params()


def test_an_architecture_without_weights_and_weights_without_one_ask_for_the_other(tmp_path, legacy_keras):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    (tmp_path / "model.json").write_text(model.to_json())
    model.save_weights(tmp_path / "model.weights.h5")
    model.save(tmp_path / "model.keras")
    (tmp_path / "other.json").write_text('{"a": 1}')

    with pytest.raises(ModelError, match="architecture without weights"):
        load_model(tmp_path / "model.json")
    with pytest.raises(ModelError, match="weights only; give the architecture"):
        load_model(tmp_path / "model.weights.h5")
    with pytest.raises(ModelError, match="it has weights of its own"):
        load_model(tmp_path / "model.keras", tmp_path / "model.weights.h5")
    with pytest.raises(ModelError, match=r"not of model\.to_json"):
        load_model(tmp_path / "other.json", tmp_path / "model.weights.h5")


def test_an_unpacked_archive_is_read_as_the_archive(randomised, save, tmp_path, outputs):
    model = randomised(mixed(import_module("keras")))
    with zipfile.ZipFile(save(model, ".keras")) as archive:
        archive.extractall(tmp_path / "unpacked")

    assert_equal(load_model(tmp_path / "unpacked"), model, outputs)


def test_a_model_of_keras_1_is_told_what_to_do(save, legacy_keras):
    import h5py
    import tf_keras

    path = save(tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(2)]), ".h5")
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "1.2.2"

    with pytest.raises(ModelError, match=r"written by Keras 1\.2\.2"):
        load_model(path)


def test_json_of_another_shape_is_refused(tmp_path):
    for text in ("{", json.dumps({"class_name": 3}), json.dumps({"class_name": "Sequential", "config": 3})):
        (tmp_path / "model.json").write_text(text)
        (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
        with pytest.raises(ModelError):
            load_model(tmp_path / "model.json", tmp_path / "x.h5")
