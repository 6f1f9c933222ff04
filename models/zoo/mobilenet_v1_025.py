"""MobileNetV1 at a quarter of its width, on Fashion-MNIST.

The topology of Howard et al., 2017 (arXiv:1704.04861) with width multiplier 0.25, the visual-wake-words
network of MLPerf Tiny (Banbury et al., 2021, arXiv:2106.07597). That one sees 96x96 images; for 28x28 the
second block keeps the resolution, so that the last two blocks still see 2x2 positions.

Train it again on the whole data set (Debian package ``dataset-fashion-mnist``)::

    python -m models.zoo.mobilenet_v1_025 --out mobilenet_v1_025.keras
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.zoo.fashion_mnist import INPUT_SHAPE, LABELS, train_classifier
from models.zoo.training import Recipe

if TYPE_CHECKING:
    import keras

FIRST_CHANNELS = 8
# (channels, strides) of the depthwise-separable blocks
BLOCKS = (
    *((16, 1), (32, 1), (32, 1), (64, 2), (64, 1), (128, 2)),
    *((128, 1), (128, 1), (128, 1), (128, 1), (128, 1), (256, 2), (256, 1)),
)


def build() -> keras.Model:
    """Return the untrained network: float32 (n, 28, 28, 1) in 0..1 to float32 (n, 10) softmax."""
    import keras
    from keras import layers

    def normalised(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.ReLU(max_value=6.0)(layers.BatchNormalization()(x))

    inputs = layers.Input(INPUT_SHAPE, name="image")
    x = normalised(layers.Conv2D(FIRST_CHANNELS, 3, strides=2, padding="same", use_bias=False)(inputs))
    for channels, strides in BLOCKS:
        x = normalised(layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x))
        x = normalised(layers.Conv2D(channels, 1, use_bias=False)(x))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    outputs = layers.Dense(len(LABELS), activation="softmax", name="class")(x)
    return keras.Model(inputs, outputs, name="mobilenet_v1_025")


if __name__ == "__main__":
    train_classifier("mobilenet_v1_025", build, Recipe(epochs=16))
