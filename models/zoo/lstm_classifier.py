"""An LSTM classifier on ItalyPowerDemand: 24 hourly values, two seasons.

One long short-term memory layer (Hochreiter and Schmidhuber, 1997, Neural Computation 9(8)); what it
remembers at the last step is classified.

Train it again on the data that ships with the project::

    python -m models.zoo.lstm_classifier --out lstm_classifier.keras
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.zoo.series import ITALY_POWER_DEMAND, train_classifier
from models.zoo.training import Recipe

if TYPE_CHECKING:
    import keras

INPUT_SHAPE = (24, 1)
CLASSES = 2
UNITS = 32


def build() -> keras.Model:
    """Return the untrained network: float32 (n, 24, 1) to float32 (n, 2) softmax."""
    import keras
    from keras import layers

    inputs = layers.Input(INPUT_SHAPE, name="series")
    x = layers.Dropout(0.3)(layers.LSTM(UNITS)(inputs))
    outputs = layers.Dense(CLASSES, activation="softmax", name="class")(x)
    return keras.Model(inputs, outputs, name="lstm_classifier")


if __name__ == "__main__":
    recipe = Recipe(epochs=100, batch_size=16, learning_rate=1e-2)
    train_classifier("lstm_classifier", build, recipe, ITALY_POWER_DEMAND)
