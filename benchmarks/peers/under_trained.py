"""Models that are far from their optimum, as users often bring them: fine-tuning raises them by points.

Usage: python under_trained.py NAME FOLDER

Writes ``model.keras``, ``data.npz`` and ``pipeline.toml`` into the folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

SETTINGS = """[project]
name = "{name}"
[model]
path = "model.keras"
[data]
source = "data.npz"
[preprocessing]
scale = 0.00392156862745098 # 1/255
"""
SMALL_TRAIN, SMALL_TEST = 8000, 4000
SIDE = 32
BATCH = 16  # many steps of few samples, which settle the statistics of batch normalization


def fashion() -> dict[str, NDArray[Any]]:
    """Fashion-MNIST as it comes with the zoo, 28x28x1."""
    from models.zoo.fashion_mnist import COMPACT

    with np.load(COMPACT) as arrays:
        return dict(arrays)


def colored() -> dict[str, NDArray[Any]]:
    """Clothing in random colours on gradients of two others, 32x32x3: a harder task for a small model."""
    arrays, rng = fashion(), np.random.default_rng(0)
    found = {}
    for split, count in (("train", SMALL_TRAIN), ("test", SMALL_TEST)):
        rows = rng.permutation(len(arrays[f"x_{split}"]))[:count]
        masks = np.zeros((count, SIDE, SIDE, 1), np.float32)
        for at, row in enumerate(rows):
            top, left = rng.integers(0, SIDE - 28 + 1, 2)
            masks[at, top : top + 28, left : left + 28] = arrays[f"x_{split}"][row] / 255
        front, first, second = rng.uniform(0, 255, (3, count, 1, 1, 3)).astype(np.float32)
        share = np.linspace(0, 1, SIDE, dtype=np.float32)[None, :, None, None]
        ground = first * share + second * (1 - share)
        images = front * masks + ground * (1 - masks) + rng.normal(0, 8, (count, SIDE, SIDE, 3))
        found[f"x_{split}"] = np.clip(images, 0, 255).astype(np.uint8)
        found[f"y_{split}"] = arrays[f"y_{split}"][rows]
    return found


def resnet8() -> keras.Model:
    from models.zoo.resnet8 import build

    return build()


def small() -> keras.Model:
    """Six convolutions with batch normalization, 72,000 weights."""
    import keras
    from keras import layers

    inputs = x = layers.Input((SIDE, SIDE, 3), name="image")
    for filters, strides in ((16, 1), (16, 2), (32, 1), (32, 2), (64, 1), (64, 1)):
        x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="small")


MADE = {
    # name: data, network, training samples, epochs, learning rate
    "under-trained": (fashion, resnet8, 4000, 3, 5e-4),
    "under-trained-rgb": (colored, small, SMALL_TRAIN, 2, 5e-4),
}


def make(name: str, folder: Path) -> None:
    """Train a model for too short a time and write what a build takes."""
    import keras

    data, build, samples, epochs, learning_rate = MADE[name]
    keras.utils.set_random_seed(0)
    arrays, model = data(), build()
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * -(-samples // BATCH))
    model.compile(keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    rows = np.random.default_rng(0).permutation(len(arrays["x_train"]))[:samples]
    inputs = arrays["x_train"][rows].astype(np.float32) / np.float32(255)
    model.fit(inputs, arrays["y_train"][rows], batch_size=BATCH, epochs=epochs, verbose=2)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", **arrays)
    model.save(folder / "model.keras")
    (folder / "pipeline.toml").write_text(SETTINGS.format(name=name))  # last: the folder is whole


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
