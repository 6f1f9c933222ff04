"""Small float models, the files that TensorFlow makes of them, and samples for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from pipeline.quantize.backends.tflite_converter import calibrate, convert
from pipeline.training.tfmot import tensorflow

SAMPLES = 16


@dataclass(frozen=True, eq=False)  # hashed by identity, for the caches
class Given:
    """Samples as conversions take them."""

    arrays: tuple[np.ndarray, ...]

    def __len__(self):
        return len(self.arrays[0])

    def take(self, places):
        return Given(tuple(each[places] for each in self.arrays))

    def chunks(self, size):
        return (self.take(slice(at, at + size)) for at in range(0, len(self), size))

    def model_inputs(self):
        return list(self.arrays)


def residual(layers):
    image = layers.Input((8, 8, 2))
    hidden = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(image)))
    added = layers.Add()([hidden, layers.Conv2D(4, 1)(image)])
    return image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(added))


def depthwise(layers):
    image = layers.Input((8, 8, 2))
    hidden = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    hidden = layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu6")(hidden)
    hidden = layers.Conv2D(8, 1, activation="relu")(hidden)
    return image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(hidden))


def leaky(layers):
    image = layers.Input((6, 6, 1))
    hidden = layers.LeakyReLU(name="leaky")(layers.Conv2D(2, 3)(image))
    return image, layers.Dense(2)(layers.Flatten()(hidden))


def unrolled(layers):
    series = layers.Input((5, 3))
    return series, layers.Dense(2, activation="sigmoid")(layers.SimpleRNN(4, unroll=True)(series))


def gru(layers):
    series = layers.Input((8, 2))
    return series, layers.Dense(2, name="scores")(layers.GRU(4, unroll=True)(series))


def growing_lstm(layers):
    """Its open gates add up the inputs, so that each step has larger states than the one before."""
    series = layers.Input((8, 2))
    states = layers.LSTM(4, unroll=True, bias_initializer="ones", unit_forget_bias=False)(series)
    return series, layers.Dense(2, name="scores")(states)


def tiny(layers):
    image = layers.Input((4, 4, 1))
    return image, layers.Dense(3, activation="softmax")(layers.Flatten()(layers.Conv2D(2, 3)(image)))


def two_inputs(layers):
    image, profile = layers.Input((6, 6, 1)), layers.Input((4,))
    joined = layers.Concatenate()([layers.Flatten()(layers.Conv2D(2, 3)(image)), layers.Dense(3)(profile)])
    return [image, profile], layers.Dense(1)(joined)


def pooled(layers):
    image = layers.Input((8, 8, 2))
    one = layers.MaxPooling2D()(layers.Conv2D(3, 3, padding="same")(image))
    other = layers.AveragePooling2D()(layers.Conv2D(2, 1, activation="relu")(image))
    joined = layers.Concatenate()([one, layers.ZeroPadding2D(((0, 0), (0, 0)))(other)])
    return image, layers.Dense(2)(layers.Flatten()(layers.UpSampling2D()(joined)))


def tokens(layers):
    words = layers.Input((6,), dtype="int32")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4)(words))
    return words, layers.Dense(2, activation="softmax")(pooled)


@cache
def float_file(function, keeper):
    return convert(function, keeper, "float32", None)


@cache
def calibrated(function, keeper, samples):
    return calibrate(float_file(function, keeper), function, samples)


@cache
def concrete(build):
    tf = tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(1)
    keras_model = tf_keras.Model(*build(tf_keras.layers))
    specs = [
        tf.TensorSpec((1, *each.shape[1:]), each.dtype, f"input_{i}")
        for i, each in enumerate(keras_model.inputs)
    ]
    function = tf.function(lambda *x: keras_model(x[0] if len(x) == 1 else list(x), training=False))
    rng = np.random.default_rng(1)
    arrays = tuple(rng.normal(size=(SAMPLES, *spec.shape[1:])).astype(np.float32) for spec in specs)
    return function.get_concrete_function(*specs), keras_model, Given(arrays)
