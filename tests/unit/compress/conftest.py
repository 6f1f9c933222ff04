"""What tests of several compression steps use: a stored network, and the int8 file of one."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.flatbuffer import read_tflite
from pipeline.layer_records import LayerRecord
from pipeline.quantize.tflite import write_model
from pipeline.samples import Samples
from pipeline.training.keras_io import save_model


@pytest.fixture(scope="session")
def store_network(tmp_path_factory, prepared_model):
    """Store a network of images (8, 8, 2) in two classes, with a record of each layer."""

    def store(network, record_of=lambda layer: LayerRecord(name=layer.name, kind=type(layer).__name__)):
        folder = tmp_path_factory.mktemp("model")
        save_model(network, folder / "keras/model")
        return prepared_model(
            folder,
            inputs=(Port("image", (8, 8, 2)),),
            outputs=(Port("class", (2,), activation="softmax"),),
            layers=tuple(map(record_of, network.layers)),
        ).keras

    return store


@pytest.fixture(scope="module")
def data(tmp_path_factory, store_dataset):
    """48 samples of two classes for a stored network."""
    labels = np.arange(48) % 2
    inputs = np.random.default_rng(0).normal(size=(48, 8, 8, 2)) + labels[:, None, None, None]
    return store_dataset(tmp_path_factory.mktemp("data"), inputs, labels)


@pytest.fixture(scope="module")
def file_of(data, tmp_path_factory):
    """Write the int8 file of a model, in this process."""

    def convert(model):
        folder = tmp_path_factory.mktemp("file")
        samples = Samples.of(data, "train", model.preprocessing).take(slice(0, 16))
        after_training = not hasattr(model, "unbounded")
        write_model(
            model, samples, "int8", after_training, "tflite-converter", None,
            folder / "original.tflite", samples, folder / "answers.npz", folder / "expected.npz",
            folder / "model.tflite",
        )  # fmt: skip
        return read_tflite(folder / "model.tflite")

    return convert
