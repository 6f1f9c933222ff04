"""A small trained convolutional network with its data and settings, as a project that builds in seconds."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """
[project]
name = "tiny"
version = "1.0"

[model]
path = "model.keras"

[data]
source = "data.npz"

[[compress]]
method = "weights"
sparsity = 0.5
min_weights = 0
training = { epochs = 6, min_steps = 1, batch_size = 16, learning_rate = 1e-3 }

[quantize]
method = "qat"
training = { epochs = 2, min_steps = 1, batch_size = 16, learning_rate = 3e-4 }

[calibration]
samples = 32

[validate]
operators = false

[validate.shift]
samples = 64
severities = [3]
"""
TRAIN, TEST = 320, 160


def corners(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy uint8 images (count, 8, 8, 1) with one bright corner of four: the label."""
    rng = np.random.default_rng(1)
    labels = np.arange(count) % 4
    images = rng.integers(0, 60, (count, 8, 8, 1))
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[row : row + 4, column : column + 4] += 150
    return images.astype(np.uint8), labels


def write_project(folder: Path) -> None:
    """Train the model, and write it, its data and a pipeline.toml."""
    from pipeline.training.tfmot import tensorflow

    tensorflow()
    import keras

    images, labels = corners(TRAIN + TEST)
    np.savez(
        folder / "data.npz",
        x_train=images[:TRAIN],
        y_train=labels[:TRAIN],
        x_test=images[TRAIN:],
        y_test=labels[TRAIN:],
    )
    layers = keras.layers
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(images[:TRAIN] / 255, labels[:TRAIN], batch_size=16, epochs=8, verbose=0)
        model.save(folder / "model.keras")
    (folder / "pipeline.toml").write_text(SETTINGS, encoding="utf-8")
