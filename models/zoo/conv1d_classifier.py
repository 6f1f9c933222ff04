"""A 1-D convolutional classifier on ItalyPowerDemand: 24 hourly values, two seasons.

The fully convolutional network of Wang et al., 2017, "Time series classification from scratch with deep
neural networks" (arXiv:1611.06455), at a quarter of its width; its last layer sees every hour in place of
their mean.

Train it again on the data that ships with the project::

    python -m models.zoo.conv1d_classifier --out conv1d_classifier.keras
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.zoo.series import ITALY_POWER_DEMAND, train_classifier
from models.zoo.training import Recipe

if TYPE_CHECKING:
    import keras

INPUT_SHAPE = (24, 1)
CLASSES = 2
# (channels, kernel) of the convolutions
CONVOLUTIONS = ((32, 8), (64, 5), (32, 3))


def build() -> keras.Model:
    """Return the untrained network: float32 (n, 24, 1) to float32 (n, 2) softmax."""
    import keras
    from keras import layers

    inputs = layers.Input(INPUT_SHAPE, name="series")
    x = inputs
    for channels, kernel in CONVOLUTIONS:
        x = layers.Conv1D(channels, kernel, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dropout(0.2)(layers.Flatten()(x))
    outputs = layers.Dense(CLASSES, activation="softmax", name="class")(x)
    return keras.Model(inputs, outputs, name="conv1d_classifier")


if __name__ == "__main__":
    recipe = Recipe(epochs=100, batch_size=16)
    train_classifier("conv1d_classifier", build, recipe, ITALY_POWER_DEMAND)
