"""Layers with the channels first compute the same with the channels last, between permutations."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from models.errors import ModelError
from models.load import load_model
from models.prepare import prepare

SERIES, IMAGE, VOLUME, FILM = (4, 10), (3, 8, 6), (2, 4, 6, 4), (3, 2, 6, 5)
FIRST = {"data_format": "channels_first"}
CASES = [
    ("GlobalAveragePooling1D", SERIES, {}),
    ("GlobalAveragePooling1D", SERIES, {"keepdims": True}),
    ("GlobalMaxPooling1D", SERIES, {}),
    ("GlobalAveragePooling2D", IMAGE, {}),
    ("GlobalMaxPooling2D", IMAGE, {"keepdims": True}),
    ("GlobalMaxPooling3D", VOLUME, {}),
    ("MaxPooling1D", SERIES, {"pool_size": 3, "strides": 2}),
    ("AveragePooling2D", IMAGE, {"pool_size": 2, "padding": "same"}),
    ("MaxPooling2D", IMAGE, {}),
    ("MaxPooling3D", VOLUME, {}),
    ("Conv1D", SERIES, {"filters": 5, "kernel_size": 3, "activation": "relu"}),
    ("Conv2D", IMAGE, {"filters": 5, "kernel_size": (3, 2), "strides": 2, "activation": "hard_sigmoid"}),
    ("Conv2DTranspose", IMAGE, {"filters": 2, "kernel_size": 3, "strides": 2}),
    ("DepthwiseConv2D", IMAGE, {"kernel_size": 3}),
    ("SeparableConv2D", IMAGE, {"filters": 5, "kernel_size": 3}),
    ("Flatten", IMAGE, {}),
    ("Flatten", (6,), {}),
    ("ZeroPadding2D", IMAGE, {"padding": ((1, 0), (2, 1))}),
    ("Cropping2D", IMAGE, {"cropping": 1}),
    ("UpSampling2D", IMAGE, {"size": (2, 3)}),
    ("SpatialDropout2D", IMAGE, {"rate": 0.5}),
    ("Resizing", IMAGE, {"height": 5, "width": 7}),
    ("CenterCrop", IMAGE, {"height": 4, "width": 4}),
    ("ConvLSTM2D", FILM, {"filters": 2, "kernel_size": 3, "return_sequences": True}),
    ("ConvLSTM2D", FILM, {"filters": 2, "kernel_size": 3}),
]


@pytest.mark.parametrize(("kind", "shape", "arguments"), CASES)
def test_a_layer_with_channels_first_computes_the_same(
    kind, shape, arguments, randomised, save, outputs, rng
):
    import keras
    import tensorflow as tf

    if kind == "ConvLSTM2D":
        arguments = {**arguments, "recurrent_activation": "sigmoid"}
    layer = getattr(keras.layers, kind)(**arguments, **FIRST)
    model = randomised(keras.Sequential([keras.Input(shape), layer]))
    x = rng.normal(size=(3, *shape)).astype(np.float32)

    loaded = load_model(save(model, ".keras"))

    # Without oneDNN, which is off on older CPUs, only XLA computes convolutions with the channels first.
    expected = np.asarray(tf.function(model, jit_compile=True)(x, training=False))
    np.testing.assert_allclose(outputs(loaded, x)[0], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(outputs(prepare(loaded)[0], x)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_pooling_over_the_channels_of_tf_keras_computes_the_same(suffix, save, outputs, rng):
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input(SERIES), tf_keras.layers.GlobalAveragePooling1D(**FIRST)])
    x = rng.normal(size=(3, *SERIES)).astype(np.float32)

    np.testing.assert_allclose(
        outputs(load_model(save(model, suffix)), x)[0], outputs(model, x)[0], rtol=0, atol=1e-6
    )


def test_layers_after_each_other_are_not_permuted_back_in_between(save):
    import keras

    pools = [keras.layers.MaxPooling2D(**FIRST), keras.layers.AveragePooling2D(2, **FIRST)]
    model = keras.Sequential([keras.Input((3, 16, 16)), *pools, keras.layers.Flatten(**FIRST)])

    kinds = [type(layer).__name__ for layer in load_model(save(model, ".keras")).layers]

    assert kinds == ["InputLayer", "Permute", "MaxPooling2D", "AveragePooling2D", "Flatten"]


def test_a_softmax_along_positions_is_refused(save):
    import keras

    layer = keras.layers.Conv2D(2, 3, activation="softmax", name="odd", **FIRST)

    with pytest.raises(ModelError, match=r"'odd' \(Conv2D\): softmax .* a layer Softmax of its own"):
        load_model(save(keras.Sequential([keras.Input(IMAGE), layer]), ".keras"))


@pytest.mark.parametrize("library_name", ["keras", "tf_keras"])
def test_channels_first_inside_a_wrapper_is_refused_with_what_keeps_the_function(library_name, save):
    library = import_module(library_name)
    layer = library.layers.TimeDistributed(library.layers.GlobalMaxPooling1D(**FIRST), name="odd")

    with pytest.raises(ModelError, match=r"data_format='channels_first' is not supported; put a Permute"):
        load_model(save(library.Sequential([library.Input((3, *SERIES)), layer]), ".keras"))
