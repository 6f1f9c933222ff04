"""One layer of a model is made worse by hand: that layer comes first, however the model was quantized."""

from __future__ import annotations

import numpy as np
import pytest
from few_samples import Few

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import ranges_of
from pipeline.flatbuffer.layers import user_layers
from pipeline.flatbuffer.simulation import exact_constants
from pipeline.quantize.backends.tflite_converter import calibrate, convert, quantize
from pipeline.quantize.qat import fake_quantized, set_activation_ranges
from pipeline.training.tfmot import tensorflow
from pipeline.validation.layer_errors import grouped
from pipeline.validation.sensitivity import Given, sensitivity_of

INPUTS = np.random.default_rng(2).normal(size=(32, 8, 8, 2)).astype(np.float32)


@pytest.fixture
def network():
    tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(3)
    layers = tf_keras.layers
    x = inputs = layers.Input((8, 8, 2))
    for name in ("first", "middle", "late"):
        x = layers.Conv2D(12, 3, padding="same", activation="relu", name=name)(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(4, name="pool")(x))
    return tf_keras.Model(inputs, layers.Dense(4, name="scores")(x))


def function_of(model):
    tf = tensorflow()
    spec = tf.TensorSpec((1, 8, 8, 2), tf.float32, "input_0")
    return tf.function(lambda x: model(x, training=False)).get_concrete_function(spec), model


def ranked(content, original, network, folder):
    model = read_tflite(content)
    known = {layer.name: layer.name for layer in network.layers}
    groups = grouped(model, user_layers(model, known))
    exact = exact_constants(model, read_tflite(original))
    assert len(exact) >= 4  # all kernels; biases of zero are left out
    found = sensitivity_of(model, exact, groups, Given([INPUTS]), known, folder)
    assert found.equal > 0.9
    return [row.layer for row in found.layers]


def test_after_training_channels_of_unequal_size_are_blamed_on_their_layer(network, tmp_path):
    kernel, bias = network.get_layer("middle").get_weights()
    kernel[..., :2] *= 1000
    network.get_layer("middle").set_weights([kernel, bias])
    kernel, bias = network.get_layer("late").get_weights()
    kernel[:, :, :2] /= 1000
    network.get_layer("late").set_weights([kernel, bias])
    function = function_of(network)
    calibrated = calibrate(convert(*function, "float32", None), function[0], Few(INPUTS))

    content = quantize(calibrated, ranges_of(calibrated), "int8")

    assert ranked(content, calibrated, network, tmp_path)[0] == "middle"


def test_a_range_that_training_spoiled_is_blamed_on_its_layer(network, tmp_path):
    student = fake_quantized(network)
    set_activation_ranges(student, network, Few(INPUTS), 0, {})
    [limit] = [each for each in student.weights if each.name.startswith("quant_middle/post_activation_max")]
    limit.assign(limit * 50)

    content = convert(*function_of(student), "int8", Few(INPUTS))

    original = convert(*function_of(network), "float32", None)
    assert ranked(content, original, network, tmp_path)[0] == "middle"
