"""Small models of every family, and what they learn: what tests push through `pipeline build`."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

TRAIN, TEST = 320, 160
COUNT = TRAIN + TEST


def corners(size=12):
    """Noisy uint8 images (480, size, size, 1) with one bright corner of four: the label."""
    rng = np.random.default_rng(1)
    labels, half = np.arange(COUNT) % 4, size // 2
    images = rng.integers(0, 60, (COUNT, size, size, 1))
    for image, label in zip(images, labels, strict=True):
        row, column = half * (label // 2), half * (label % 2)
        image[row : row + half, column : column + half] += 150
    return images.astype(np.uint8), labels


def clouds(classes=3, spread=1.0):
    """Points (480, 12) around one centre a class; ``spread`` is the ratio of the features' ranges."""
    rng = np.random.default_rng(1)
    labels = np.arange(COUNT) % classes
    centres = rng.normal(size=(classes, 12)) * 2
    points = centres[labels] + rng.normal(size=(COUNT, 12))
    return (points * np.geomspace(1, spread, 12)).astype(np.float32), labels


def waves(steps=12):
    """Noisy sines (480, steps, 2) of one of three frequencies, of any phase."""
    rng = np.random.default_rng(1)
    labels = np.arange(COUNT) % 3
    phase = rng.uniform(0, 2 * np.pi, (COUNT, 1)) + np.arange(steps) * (0.3 + 0.5 * labels[:, None])
    series = np.stack([np.sin(phase), np.cos(phase)], axis=-1)
    return (series + rng.normal(0, 0.1, series.shape)).astype(np.float32), labels


def movies():
    """Noisy uint8 clips (480, 6, 10, 10, 1) of a bright square that moves in one of three directions."""
    rng = np.random.default_rng(1)
    labels = np.arange(COUNT) % 3
    clips = rng.integers(0, 60, (COUNT, 6, 10, 10, 1))
    for clip, label in zip(clips, labels, strict=True):
        place, step = rng.integers(0, 8, 2), ((0, 1), (1, 0), (0, -1))[label]
        for frame in clip:
            row, column = place % 8
            frame[row : row + 3, column : column + 3] += 150
            place += step
    return clips.astype(np.uint8), labels


def plane():
    """Points (480, 6) and a linear function of them with noise."""
    rng = np.random.default_rng(1)
    points = rng.normal(size=(COUNT, 6)).astype(np.float32)
    return points, (points @ np.arange(1, 7) + rng.normal(0, 0.3, COUNT)).astype(np.float32)[:, None]


def masks():
    """Images (480, 16, 16, 3) with a bright box, and where it is (480, 16, 16)."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 80, (COUNT, 16, 16, 3))
    where = np.zeros((COUNT, 16, 16), np.uint8)
    for image, mask in zip(images, where, strict=True):
        row, column = rng.integers(0, 9, 2)
        image[row : row + 7, column : column + 7] += 150
        mask[row : row + 7, column : column + 7] = 1
    return images.astype(np.uint8), where


# --- models: from a library's `keras` to a model, compiled or not


def sequential(keras: Any, shape: Any, layers: Any, **options: Any) -> Any:
    return keras.Sequential([keras.Input(shape, **options), *layers])


def mobile(keras):
    """Depthwise-separable convolutions with ReLU6, on -1..1."""
    layers = keras.layers
    return sequential(
        keras,
        (12, 12, 1),
        [
            *(layers.ZeroPadding2D(1), layers.Conv2D(16, 3, strides=2, use_bias=False)),
            *(layers.BatchNormalization(momentum=0.8), layers.ReLU(6.0)),
            *(layers.DepthwiseConv2D(3, padding="same", use_bias=False),),
            *(layers.BatchNormalization(momentum=0.8), layers.ReLU(6.0)),
            *(layers.SeparableConv2D(24, 3, activation="relu6"), layers.Flatten()),
            *(layers.Dense(4), layers.Softmax()),
        ],
    )


def vector(keras):
    layers = keras.layers
    return sequential(
        keras,
        (12,),
        [
            *(layers.Dense(48), layers.BatchNormalization(momentum=0.8), layers.ReLU(), layers.Dropout(0.1)),
            *(layers.Dense(24, activation="tanh"), layers.Dense(3, activation="softmax")),
        ],
    )


def gru(keras):
    return sequential(keras, (12, 2), [keras.layers.GRU(12), keras.layers.Dense(3, activation="softmax")])


def frames(keras):
    """A convolutional network for each frame, and an LSTM over what it found."""
    layers = keras.layers
    each = [layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(16, activation="relu")]
    return sequential(
        keras,
        (6, 10, 10, 1),
        [
            layers.TimeDistributed(sequential(keras, (10, 10, 1), each)),
            *(layers.LSTM(12), layers.Dense(3, activation="softmax")),
        ],
    )


def attention(keras):
    layers = keras.layers
    inputs = keras.Input((12, 2))
    x = layers.Dense(16)(inputs)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(x, x)])
    x = layers.LayerNormalization()(x)
    x = layers.GlobalAveragePooling1D()(layers.Dense(16, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))


def unet(keras):
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    wide = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    deep = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(wide))
    up = layers.Conv2DTranspose(8, 2, strides=2)(deep)
    joined = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Concatenate()([up, wide]))
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(joined))


def two_headed(keras):
    """An image and a vector in; a class and a number out."""
    layers = keras.layers
    image, profile = keras.Input((12, 12, 1), name="image"), keras.Input((6,), name="profile")
    seen = layers.Flatten()(layers.Conv2D(8, 3, strides=2, activation="relu")(image))
    joined = layers.Concatenate()([seen, layers.Dense(16, activation="relu")(profile)])
    joined = layers.Dense(24, activation="relu")(joined)
    outputs = [
        layers.Dense(4, activation="softmax", name="corner")(joined),
        layers.Dense(1, name="height")(joined),
    ]
    return keras.Model([image, profile], outputs)


def train(model: Any, keras: Any, inputs: Any, targets: Any, epochs: int = 10) -> None:
    """Fit a model to its data with the losses that its outputs suggest."""
    losses, chosen = keras.losses, []
    for output, target in zip(
        model.outputs, targets if isinstance(targets, list) else [targets], strict=True
    ):
        node = output._keras_history
        layer = node.operation if hasattr(node, "operation") else node.layer
        last = getattr(getattr(layer, "activation", None), "__name__", "softmax")
        is_class = np.asarray(target).dtype.kind in "iu"
        if not is_class and last == "linear":
            chosen.append(losses.MeanSquaredError())
        elif output.shape[-1] == 1 or last == "sigmoid":
            chosen.append(losses.BinaryCrossentropy(from_logits=last == "linear"))
        else:
            chosen.append(losses.SparseCategoricalCrossentropy(from_logits=last == "linear"))
    model.compile(keras.optimizers.Adam(5e-3), chosen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(inputs, targets, batch_size=16, epochs=epochs, verbose=0)


def save(model: Any, path: Path) -> None:
    """Save a model; that HDF5 is an old format is what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)


def library(name: str) -> Any:
    from pipeline.training.tfmot import tensorflow

    tensorflow()
    found = import_module(name)
    found.utils.set_random_seed(1)
    return found
