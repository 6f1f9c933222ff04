"""An autoencoder that finds what it has not been shown: anomaly detection on Fashion-MNIST.

The dense autoencoder of MLPerf Tiny's anomaly detection (Banbury et al., 2021, arXiv:2106.07597): layers of
128 units around one of 8, batch normalization and ReLU; with two on each side in place of four, and on
28x28 images in place of the sound of machines. It is trained on footwear alone (sandals, sneakers and ankle
boots); what it then rebuilds badly is an anomaly: all other clothing.

Train it again on the whole data set (Debian package ``dataset-fashion-mnist``)::

    python -m models.zoo.autoencoder --out autoencoder.keras
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.zoo import training
from models.zoo.fashion_mnist import COMPACT, INPUT_SHAPE, INSTALLED, LABELS, read_split, scale

if TYPE_CHECKING:
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

NORMAL = tuple(LABELS.index(name) for name in ("Sandal", "Sneaker", "Ankle boot"))
UNITS = (128, 128, 8, 128, 128)


def build() -> keras.Model:
    """Return the untrained network: float32 (n, 28, 28, 1) in 0..1 to the same."""
    import keras
    from keras import layers

    inputs = layers.Input(INPUT_SHAPE, name="image")
    x = layers.Flatten()(inputs)
    for units in UNITS:
        x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(units)(x)))
    x = layers.Dense(int(np.prod(INPUT_SHAPE)), activation="sigmoid")(x)
    outputs = layers.Reshape(INPUT_SHAPE, name="rebuilt")(x)
    return keras.Model(inputs, outputs, name="autoencoder")


def data() -> tuple[NDArray[np.uint8], ...]:
    """Return the samples that ship with the project: x_train, y_train, x_test, y_test.

    Returns:
        uint8 (n, 28, 28, 1) images and uint8 (n,) labels, 1 for an anomaly; none in training.
    """
    with np.load(COMPACT) as arrays:
        normal = arrays["x_train"][anomalies(arrays["y_train"]) == 0]
        return normal, np.zeros(len(normal), np.uint8), arrays["x_test"], anomalies(arrays["y_test"])


def anomalies(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """1 if a label is not of a normal class, else 0."""
    return (~np.isin(labels, NORMAL)).astype(np.uint8)


def rebuilding_error(model: keras.Model, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean squared difference of each sample (n,) to what the model makes of it."""
    squares = np.square(model.predict(inputs, batch_size=500, verbose=0) - inputs)
    return np.asarray(squares.mean(axis=tuple(range(1, inputs.ndim))), np.float32)


def area_under_curve(scores: NDArray[np.float32], labels: NDArray[np.uint8]) -> float:
    """Probability that an anomaly (label 1) scores above a normal sample; equal scores count half."""
    normal, anomaly = np.sort(scores[labels == 0]), scores[labels == 1]
    below, not_above = (np.searchsorted(normal, anomaly, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(normal)))


def train(data: Path, out: Path, recipe: training.Recipe) -> str:
    """Train on the 18,000 normal training images, write ``out`` and say the area under the curve."""
    images, labels = read_split(data, "train")
    model = training.fit(build, images[anomalies(labels) == 0], None, lambda raw, _: scale(raw), recipe)
    training.save(model, build, out)
    images, labels = read_split(data, "t10k")
    auc = area_under_curve(rebuilding_error(model, scale(images)), anomalies(labels))
    return f"area under the curve of the rebuilding error, test {auc:.4f}"


if __name__ == "__main__":
    training.run("autoencoder", train, training.Recipe(epochs=25, learning_rate=2e-3), INSTALLED)
