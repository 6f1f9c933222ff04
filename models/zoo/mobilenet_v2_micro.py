"""A MobileNetV2 of seven inverted residual blocks, on Fashion-MNIST.

The blocks of Sandler et al., 2018 (arXiv:1801.04381): expansion, depthwise convolution, linear projection,
and a shortcut where the shapes agree; fewer and narrower ones, as fit a microcontroller.

Train it again on the whole data set (Debian package ``dataset-fashion-mnist``)::

    python -m models.zoo.mobilenet_v2_micro --out mobilenet_v2_micro.keras
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.zoo.fashion_mnist import INPUT_SHAPE, LABELS, mirror, train_classifier
from models.zoo.training import Recipe

if TYPE_CHECKING:
    import keras

FIRST_CHANNELS = 16
LAST_CHANNELS = 128
# (expansion, channels, strides) of the inverted residual blocks
BLOCKS = ((1, 8, 1), (4, 16, 1), (4, 16, 1), (4, 24, 2), (4, 24, 1), (4, 40, 2), (4, 40, 1))


def build() -> keras.Model:
    """Return the untrained network: float32 (n, 28, 28, 1) in 0..1 to float32 (n, 10) softmax."""
    import keras
    from keras import layers

    def normalised(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.ReLU(max_value=6.0)(layers.BatchNormalization()(x))

    def pointwise(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        return layers.Conv2D(channels, 1, use_bias=False)(x)

    inputs = layers.Input(INPUT_SHAPE, name="image")
    x = normalised(layers.Conv2D(FIRST_CHANNELS, 3, strides=2, padding="same", use_bias=False)(inputs))
    for expansion, channels, strides in BLOCKS:
        before = x
        if expansion > 1:
            x = normalised(pointwise(x, expansion * x.shape[-1]))
        x = normalised(layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x))
        x = layers.BatchNormalization()(pointwise(x, channels))
        if x.shape == before.shape:
            x = layers.Add()([before, x])
    x = layers.GlobalAveragePooling2D()(normalised(pointwise(x, LAST_CHANNELS)))
    outputs = layers.Dense(len(LABELS), activation="softmax", name="class")(layers.Dropout(0.1)(x))
    return keras.Model(inputs, outputs, name="mobilenet_v2_micro")


if __name__ == "__main__":
    train_classifier("mobilenet_v2_micro", build, Recipe(epochs=8), mirror)
