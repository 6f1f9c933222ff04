"""LeNet-5 on Fashion-MNIST.

The topology of LeCun et al., 1998, "Gradient-based learning applied to document recognition", with what has
replaced its parts since: ReLU for tanh, max pooling for trainable subsampling, softmax for the Gaussian
connections, and dropout before the classifier.

Train it again on the whole data set (Debian package ``dataset-fashion-mnist``)::

    python -m models.zoo.lenet5 --out lenet5.keras
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.zoo.fashion_mnist import INPUT_SHAPE, LABELS, train_classifier
from models.zoo.training import Recipe

if TYPE_CHECKING:
    import keras


def build() -> keras.Model:
    """Return the untrained network: float32 (n, 28, 28, 1) in 0..1 to float32 (n, 10) softmax."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            layers.Input(INPUT_SHAPE, name="image"),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(len(LABELS), activation="softmax", name="class"),
        ],
        name="lenet5",
    )


if __name__ == "__main__":
    train_classifier("lenet5", build, Recipe(epochs=15))
