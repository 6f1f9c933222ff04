"""The zeros that a download needs are found without training."""

from __future__ import annotations

import pytest

from deploy.download import compress
from models.ports import Port
from pipeline.compress.weights_config import WeightsConfig
from pipeline.planning.download import zeros_for_download
from pipeline.quantize.tflite import untrained_files
from pipeline.training.keras_io import open_model, save_model, start_tensorflow

pytestmark = pytest.mark.xdist_group("planning")

CONFIG = WeightsConfig(min_weights=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory, prepared_model):
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((64,), name="values")
    x = layers.Dense(256, activation="relu", name="wide")(inputs)
    network = tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x))
    folder = tmp_path_factory.mktemp("model")
    save_model(network, folder / "keras/model")
    ports = {"inputs": (Port("values", (64,)),), "outputs": (Port("class", (2,), activation="softmax"),)}
    return prepared_model(folder, **ports).keras


@pytest.fixture(scope="module")
def whole(model):
    """The download without zeros."""
    return len(compress(untrained_files(open_model(model.model))[1]))


def test_a_large_enough_download_needs_no_zeros(model, whole, tmp_path):
    found = zeros_for_download(model, config=CONFIG, most=2 * whole, out=tmp_path)

    assert (found.share, found.notes) == (0.0, ())


def test_half_a_download_needs_about_two_thirds_zeros(model, whole, tmp_path):
    found = zeros_for_download(model, config=CONFIG, most=whole // 2 + 1024, out=tmp_path)

    assert 0.5 < found.share < 0.8


def test_what_zeros_alone_cannot_reach_is_said_with_what_could(model, tmp_path):
    found = zeros_for_download(model, config=CONFIG, most=100, out=tmp_path)

    assert found.share == 0.0
    assert "zeros alone do not reach 100 bytes" in found.notes[0]
    assert "add channels or clusters" in found.notes[0]
