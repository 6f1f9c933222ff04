"""Models of the usual kinds, as Keras 3 and tf_keras save them, go through every stage up to int8."""

from __future__ import annotations

import warnings
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts import Source
from pipeline.compress.prune import prune
from pipeline.config import CalibrationConfig, DataConfig, PruneConfig, QuantizeConfig
from pipeline.intake import choose_calibration, choose_preprocessing, load_data, load_model
from pipeline.quantize.aware import train_quantization_aware
from pipeline.quantize.convert import convert_float, convert_int8
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.scaling import as_input, as_real
from pipeline.runtimes.session import Session
from pipeline.tfmot import tensorflow
from pipeline.workspace import Workspace

TRAIN, TEST = 320, 160
TIMEOUT_S = 120.0


def corners():
    """Noisy uint8 images (480, 12, 12, 1) with one bright corner of four: the label."""
    rng = np.random.default_rng(1)
    labels = np.arange(TRAIN + TEST) % 4
    images = rng.integers(0, 60, (len(labels), 12, 12, 1))
    for image, label in zip(images, labels, strict=True):
        row, column = 6 * (label // 2), 6 * (label % 2)
        image[row : row + 6, column : column + 6] += 150
    return images.astype(np.uint8), labels


def clouds(classes=3):
    """Points (480, 12) around one centre a class."""
    rng = np.random.default_rng(1)
    labels = np.arange(TRAIN + TEST) % classes
    centres = rng.normal(size=(classes, 12)) * 2
    return (centres[labels] + rng.normal(size=(len(labels), 12))).astype(np.float32), labels


def waves():
    """Noisy sines (480, 24, 2) of one of three frequencies, of any phase."""
    rng = np.random.default_rng(1)
    labels = np.arange(TRAIN + TEST) % 3
    phase = rng.uniform(0, 2 * np.pi, (len(labels), 1)) + np.arange(24) * (0.3 + 0.5 * labels[:, None])
    series = np.stack([np.sin(phase), np.cos(phase)], axis=-1)
    return (series + rng.normal(0, 0.1, series.shape)).astype(np.float32), labels


def image_folder(layers):
    """Rescaling inside, augmentation, logits."""
    return [
        *(layers.Rescaling(1 / 255), layers.RandomTranslation(0.1, 0.1, seed=1)),
        *(layers.Conv2D(8, 3, strides=2, activation="relu"), layers.Flatten(), layers.Dense(4)),
    ]


def mobile(layers):
    """Depthwise-separable convolutions with ReLU6, on -1..1."""
    return [
        *(layers.ZeroPadding2D(1), layers.Conv2D(16, 3, strides=2, use_bias=False)),
        *(layers.BatchNormalization(momentum=0.8), layers.ReLU(6.0)),
        *(layers.DepthwiseConv2D(3, padding="same", use_bias=False), layers.BatchNormalization(momentum=0.8)),
        *(layers.ReLU(6.0), layers.SeparableConv2D(24, 3, activation="relu6"), layers.Flatten()),
        *(layers.Dense(4), layers.Softmax()),
    ]


def vector(layers):
    """Fully connected, with a normalization between."""
    return [
        *(layers.Dense(48), layers.BatchNormalization(momentum=0.8), layers.ReLU(), layers.Dropout(0.1)),
        *(layers.Dense(24, activation="tanh"), layers.Dense(3, activation="softmax")),
    ]


def binary(layers):
    """Activations that TF-MOT does not know; one output, of logits."""
    return [layers.Dense(48, activation="softsign"), layers.Dense(8, activation="gelu"), layers.Dense(1)]


def sequence(layers):
    """One-dimensional convolutions, causal and dilated among them."""
    return [
        *(layers.Conv1D(16, 5, padding="causal", dilation_rate=2, activation="relu"), layers.MaxPooling1D(2)),
        *(layers.Conv1D(24, 3), layers.BatchNormalization(momentum=0.8), layers.ReLU()),
        *(layers.GlobalAveragePooling1D(), layers.Dense(3, activation="softmax")),
    ]


def recurrent(layers):
    return [
        layers.AveragePooling1D(4),
        layers.LSTM(12, return_sequences=True),
        *(layers.GRU(12), layers.Dense(3, activation="softmax")),
    ]


FAMILIES = {
    # name: layers, data, what the model was trained on, Keras, the file's ending
    "image folder": (image_folder, corners, lambda x: x.astype(np.float32), "keras", "keras"),
    "mobile": (mobile, corners, lambda x: x / np.float32(127.5) - 1, "keras", "keras"),
    "vector": (vector, clouds, lambda x: x, "tf_keras", "h5"),
    "binary": (binary, lambda: clouds(2), lambda x: x, "keras", "h5"),
    "sequence": (sequence, waves, lambda x: x, "keras", "keras"),
    "recurrent": (recurrent, waves, lambda x: x, "tf_keras", "h5"),
}


def save_trained(family, folder):
    """Train and save a model of a family; returns where it is."""
    make_layers, data, seen, library, ending = FAMILIES[family]
    tensorflow()
    keras = import_module(library)
    inputs, labels = data()
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input(inputs.shape[1:]), *make_layers(keras.layers)])
    classes = model.output_shape[-1]
    from_logits = (
        type(model.layers[-1]).__name__ == "Dense" and model.layers[-1].activation.__name__ == "linear"
    )
    losses = keras.losses
    loss = losses.BinaryCrossentropy if classes == 1 else losses.SparseCategoricalCrossentropy
    model.compile(keras.optimizers.Adam(5e-3), loss(from_logits=from_logits))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(seen(inputs[:TRAIN]), labels[:TRAIN], batch_size=16, epochs=10, verbose=0)
        model.save(folder / f"model.{ending}")
    return folder / f"model.{ending}"


def save_data(family, folder):
    inputs, labels = FAMILIES[family][1]()
    if family != "image folder":
        names = {"train_inputs": inputs[:TRAIN], "train_labels": labels[:TRAIN]}
        np.savez(folder / "data.npz", **names, test_inputs=inputs[TRAIN:], test_labels=labels[TRAIN:])
        return folder / "data.npz"
    for index, (image, label) in enumerate(zip(inputs, labels, strict=True)):
        place = folder / "data" / ("train" if index < TRAIN else "test") / f"corner {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{index}.png")
    return folder / "data"


def accuracy(tflite, data, preprocessing):
    with Session(host_runtime("litert"), tflite) as session:
        details = session.describe()
        inputs = as_input(preprocessing.apply(np.load(data.test_inputs)), details.inputs[0])
        outputs = as_real(session.run([inputs])[0], details.outputs[0])
    found = outputs.argmax(axis=-1) if outputs.shape[-1] > 1 else outputs[:, 0] > 0
    return float((found == np.load(data.test_labels)).mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_becomes_int8_and_stays_as_good(family, tmp_path):
    step = Workspace(tmp_path / "out", lambda level, text: None).step
    path, place = save_trained(family, tmp_path), save_data(family, tmp_path)
    training = {"epochs": 2, "least_steps": 1, "batch_size": 16}

    model = step(load_model, Source(location=str(path), digest="model"))
    baseline = step(convert_float, model, timeout_s=TIMEOUT_S)
    data = step(
        load_data, Source(location=str(place), digest="data"), model, config=DataConfig(source=""), seed=0
    )
    preprocessing = step(choose_preprocessing, baseline, data, config=DataConfig(source=""))
    samples = step(choose_calibration, data, config=CalibrationConfig(samples=32), seed=0)
    compressed = step(prune, model, data, preprocessing, config=PruneConfig(sparsity=0.5, **training), seed=0)
    aware = step(
        train_quantization_aware, compressed, model, data, preprocessing,
        config=QuantizeConfig(**training), seed=0,
    )  # fmt: skip
    quantized = step(convert_int8, aware, samples, data, preprocessing, timeout_s=TIMEOUT_S)

    before = accuracy(baseline.tflite, data, preprocessing)
    assert before > 0.95
    assert accuracy(quantized.tflite, data, preprocessing) > before - 0.03
