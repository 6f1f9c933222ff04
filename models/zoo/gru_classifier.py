"""A GRU classifier on JapaneseVowels: 25 steps of twelve channels, nine speakers.

One gated recurrent layer (Cho et al., 2014, arXiv:1406.1078) in the form that Keras calls ``reset_after``;
what it remembers at the last step is classified.

Train it again on the data that ships with the project::

    python -m models.zoo.gru_classifier --out gru_classifier.keras
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.zoo.series import JAPANESE_VOWELS, train_classifier
from models.zoo.training import Recipe

if TYPE_CHECKING:
    import keras

INPUT_SHAPE = (25, 12)
CLASSES = 9
UNITS = 32


def build() -> keras.Model:
    """Return the untrained network: float32 (n, 25, 12) to float32 (n, 9) softmax."""
    import keras
    from keras import layers

    inputs = layers.Input(INPUT_SHAPE, name="series")
    x = layers.Dropout(0.3)(layers.GRU(UNITS)(inputs))
    outputs = layers.Dense(CLASSES, activation="softmax", name="class")(x)
    return keras.Model(inputs, outputs, name="gru_classifier")


if __name__ == "__main__":
    recipe = Recipe(epochs=80, batch_size=16, learning_rate=1e-2)
    train_classifier("gru_classifier", build, recipe, JAPANESE_VOWELS)
