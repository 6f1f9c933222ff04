"""DS-CNN, the keyword-spotting network, on the images of Fashion-MNIST.

The small depthwise-separable network of Zhang et al., 2017, "Hello Edge: keyword spotting on
microcontrollers" (arXiv:1711.07128), as MLPerf Tiny uses it: a 10x4 convolution with stride 2 and four
depthwise-separable blocks of 64 channels. It was made for 49x10 speech features; here it sees 28x28 images,
because no speech data set comes in a package.

Train it again on the whole data set (Debian package ``dataset-fashion-mnist``)::

    python -m models.zoo.ds_cnn --out ds_cnn.keras
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.zoo.fashion_mnist import INPUT_SHAPE, LABELS, train_classifier
from models.zoo.training import Recipe

if TYPE_CHECKING:
    import keras

CHANNELS = 64
BLOCKS = 4


def build() -> keras.Model:
    """Return the untrained network: float32 (n, 28, 28, 1) in 0..1 to float32 (n, 10) softmax."""
    import keras
    from keras import layers

    def normalised(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.ReLU()(layers.BatchNormalization()(x))

    inputs = layers.Input(INPUT_SHAPE, name="image")
    x = normalised(layers.Conv2D(CHANNELS, (10, 4), strides=2, padding="same", use_bias=False)(inputs))
    for _ in range(BLOCKS):
        x = normalised(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        x = normalised(layers.Conv2D(CHANNELS, 1, use_bias=False)(x))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    outputs = layers.Dense(len(LABELS), activation="softmax", name="class")(x)
    return keras.Model(inputs, outputs, name="ds_cnn")


if __name__ == "__main__":
    train_classifier("ds_cnn", build, Recipe(epochs=7))
