"""ResNet-8 on Fashion-MNIST: the embedded default model and the program that trained it.

The topology is the image-classification network of MLPerf Tiny (Banbury et al., 2021,
arXiv:2106.07597): three residual stacks of 16, 32 and 64 channels, here on 28x28x1 input.

Train it again on the whole data set (Debian package ``dataset-fashion-mnist``)::

    python -m models.zoo.resnet8 --data /usr/share/datasets/fashion-mnist --out resnet8.keras
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

    def convolution(x: keras.KerasTensor, filters: int, size: int, strides: int) -> keras.KerasTensor:
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    inputs = layers.Input(INPUT_SHAPE, name="image")
    x = layers.ReLU()(convolution(inputs, 16, 3, 1))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        shortcut = x if strides == 1 else convolution(x, filters, 1, strides)
        x = layers.ReLU()(convolution(x, filters, 3, strides))
        x = layers.ReLU()(layers.Add()([convolution(x, filters, 3, 1), shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(len(LABELS), activation="softmax", name="class")(x)
    return keras.Model(inputs, outputs, name="resnet8")


if __name__ == "__main__":
    train_classifier("resnet8", build, Recipe(epochs=24))
