"""What a case of the corpus is, and the data and models that several cases share."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is right for a model and its data.

    Attributes:
        model: the file, below the case's folder.
        data: the source, below the case's folder, or ``module:function``.
        metric: the float model's metric on the test samples, in points, as its author measures it;
            None if the build must refuse.
        name: of the metric in the report; "": the first one.
        advice: a pattern that the refusal's line contains.
        config: what the user has to write into pipeline.toml, at most one line for most users.
        tolerance: points by which the reported float metric may differ, as the test split may.
        loss: points that int8 may lose of a small test set.
    """

    model: str
    data: str
    metric: float | None = None
    name: str = ""
    advice: str = ""
    config: str = ""
    tolerance: float = 1.0
    loss: float = 5.0


def pictures(
    rng: np.random.Generator, count: int, classes: int = 3, size: int = 24, by: str = "place"
) -> tuple[Array, Array]:
    """Return uint8 (n, size, size, 3) and labels: a class is where or in which channel a patch is bright."""
    labels = np.arange(count) % classes
    images = rng.normal(105, 25, (count, size, size, 3))
    half, quarter = size // 2, size // 4
    for image, label in zip(images, labels, strict=True):
        if by == "colour":
            image[quarter:-quarter, quarter:-quarter, label % 3] += 40
        else:
            row, column = divmod(int(label), 2)
            image[row * half : row * half + half, column * half : column * half + half] += 55
    return np.clip(images, 0, 255).astype(np.uint8), labels


def points(rng: np.random.Generator, count: int, classes: int, features: int) -> tuple[Array, Array]:
    """Return float32 (n, features) of uneven scales, and labels: one cloud a class."""
    labels = np.arange(count) % classes
    centres = np.random.default_rng(features * 31 + classes).normal(0, 2.2, (classes, features))
    spread = np.geomspace(0.1, 50, features)
    values = (centres[labels] + rng.normal(0, 1, (count, features))) * spread + 3 * spread
    return values.round(3).astype(np.float32), labels


def waves(
    rng: np.random.Generator, count: int, classes: int, steps: int = 48, channels: int = 3
) -> tuple[Array, Array]:
    """Return float32 (n, steps, channels) and labels: a class is a frequency."""
    labels = np.arange(count) % classes
    time = np.arange(steps)[None, :, None] / steps
    phase = rng.uniform(0, 2 * np.pi, (count, 1, channels))
    signal = np.sin(2 * np.pi * (2 + 3 * labels[:, None, None]) * time + phase)
    return (signal + rng.normal(0, 0.4, signal.shape)).astype(np.float32), labels


def parts(rng: np.random.Generator, make: Any, train: int, test: int, *arguments: Any, **options: Any) -> Any:
    """Return (x_train, y_train), (x_test, y_test) of one maker, the training samples shuffled."""
    x, y = make(rng, train, *arguments, **options)
    order = rng.permutation(train)
    return (x[order], y[order]), make(rng, test, *arguments, **options)


def keras_of(generation: int) -> Any:
    """Return tf_keras or Keras 3, with a fixed seed."""
    import keras
    import tf_keras

    module = tf_keras if generation == 2 else keras
    module.utils.set_random_seed(7)
    return module


def image_net(keras: Any, shape: tuple[int, ...], outputs: int, activation: str | None, *before: Any) -> Any:
    """Return a small convolutional network."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape) if keras.__name__ == "keras" else layers.InputLayer(shape),
            *before,
            layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(24, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(outputs, activation=activation),
        ]
    )


def dense_net(keras: Any, features: int, outputs: int, activation: str | None, *before: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((features,)) if keras.__name__ == "keras" else layers.InputLayer((features,)),
            *before,
            layers.Dense(32, activation="relu"),
            layers.Dense(24, activation="relu"),
            layers.Dense(outputs, activation=activation),
        ]
    )


def fit(model: Any, x: Any, y: Any, loss: str, epochs: int = 12, rate: float = 3e-3) -> None:
    module = type(model).__module__.split(".")[0]
    optimizers = keras_of(2).optimizers if module == "tf_keras" else keras_of(3).optimizers
    model.compile(optimizers.Adam(rate), loss)
    model.fit(x, y, epochs=epochs, batch_size=32, verbose=0)


def accuracy(model: Any, x: Any, y: Array, threshold: float | None = None) -> float:
    """Return per cent of right answers, as the model's author measures it."""
    outputs = np.asarray(model.predict(x, verbose=0))
    found = outputs.argmax(-1) if threshold is None else (outputs > threshold).reshape(y.shape)
    return float((found == y).mean() * 100)


def auc(scores: Array, positive: Array) -> float:
    """Return the share of pairs with the larger score on the positive sample, in points."""
    return 100 * float((scores[positive][:, None] > scores[~positive]).mean())


def r2(model: Any, x: Any, y: Array) -> float:
    """Return the share of the variance that the model explains, in points: the mean over the outputs."""
    found = np.asarray(model.predict(x, verbose=0)).reshape(len(y), -1)
    known = y.reshape(len(y), -1).astype(np.float64)
    explained = 1 - ((known - found) ** 2).mean(0) / known.var(0)
    return float(explained.mean() * 100)


def save_pictures(
    folder: Path, images: Array, labels: Array, names: tuple[str, ...], suffix: str = ".png"
) -> None:
    """Write class folders."""
    from PIL import Image

    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / names[label] / f"img_{index:04d}{suffix}", quality=95)


def save_table(path: Path, rows: Any, header: tuple[str, ...] = (), delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        if header:
            writer.writerow(header)
        writer.writerows(rows)


def save_arrays(folder: Path, name: str, train: Any, test: Any) -> None:
    """Write both parts as an .npz."""
    np.savez(folder / name, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])


def network(keras: Any, shape: tuple[int, ...], *layers: Any) -> Any:
    """Return a sequential model."""
    start = keras.Input(shape) if keras.__name__ == "keras" else keras.layers.InputLayer(shape)
    return keras.Sequential([start, *layers])
