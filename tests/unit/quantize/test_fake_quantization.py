"""An int8 file is compared with the model with fake quantization, and a wrong layer of it is named."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from few_samples import Few

from pipeline.errors import InputError
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import normalize, pack, ranges_of, unpack
from pipeline.node_parity import Counterpart
from pipeline.quantize.backends.tflite_converter import calibrate, convert, quantize
from pipeline.quantize.fake_quantization import keras_values, layer_tensors, simulated_values
from pipeline.quantize.qat import fake_quantized, set_activation_ranges, share_pooling_ranges
from pipeline.runtimes.parity import compare_values
from pipeline.runtimes.runtime import host_runtime
from pipeline.training.tfmot import tensorflow

INPUTS = np.random.default_rng(2).normal(size=(32, 8, 8, 2)).astype(np.float32)
NAMES = ("conv", "relu", "depthwise", "sum", "pool", "average", "hidden", "scores")


def tensor_of(content, layer):
    names = [f"{prefix}{name}" for name in NAMES for prefix in ("", "quant_")]
    found = layer_tensors(read_tflite(content), names)
    return found.get(f"quant_{layer}", found.get(layer))


class Converted(NamedTuple):
    """An int8 file, and what the model with fake quantization computes."""

    content: bytes
    values: dict[int, np.ndarray]

    def compared(self, content=None):
        flat = read_tflite(content or self.content)
        known = {name: f"my {name}" for name in NAMES}
        return compare_values(flat, self.values, Counterpart(title="it"), host_runtime("litert"), known)

    def edited(self, layer, edit):
        """Return the file after ``edit(content, node)`` of the operator that computes a layer."""
        place = tensor_of(self.content, layer)
        content = unpack(self.content)
        [node] = [each for each in content.subgraphs[0].operators if place in each.outputs]
        edit(content, node)
        return pack(content)


@pytest.fixture(scope="module")
def network():
    tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(3)
    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = layers.MaxPooling2D(2, name="pool")(layers.Add(name="sum")([x, y]))
    x = layers.Flatten(name="flatten")(layers.AveragePooling2D(2, name="average")(x))
    x = layers.Dense(8, activation="relu", name="hidden")(x)
    found = tf_keras.Model(inputs, layers.Dense(4, activation="softmax", name="scores")(x))
    rng = np.random.default_rng(5)
    for variable in found.weights:  # equal biases would be one tensor of the file
        if "kernel" not in variable.name:
            variable.assign(rng.uniform(0.1, 1, variable.shape))
    return found


def function_of(model):
    tf = tensorflow()
    spec = tf.TensorSpec((1, 8, 8, 2), tf.float32, "input_0")
    return tf.function(lambda x: model(x, training=False)).get_concrete_function(spec), model


def trained(network, *, shared=True):
    student = fake_quantized(network)
    set_activation_ranges(student, network, Few(INPUTS), 0, {})
    if shared:
        share_pooling_ranges(student)
    content = normalize(convert(*function_of(student), "int8", Few(INPUTS)), ["in"], ["out"])
    values, only_read = keras_values(student, read_tflite(content), [INPUTS])
    assert not only_read
    return Converted(content, values)


@pytest.fixture(scope="module")
def of_keras(network):
    return trained(network)


@pytest.fixture(scope="module")
def original(network):
    function = function_of(network)
    return calibrate(convert(*function, "float32", None), function[0], Few(INPUTS))


@pytest.fixture(scope="module")
def of_float(original):
    content = quantize(original, ranges_of(original), "int8")
    return Converted(content, simulated_values(read_tflite(content), read_tflite(original), [INPUTS]))


@pytest.fixture(params=["of_keras", "of_float"])
def converted(request):
    return request.getfixturevalue(request.param)


def test_a_right_file_equals_it_but_for_values_between_two_steps(converted):
    found = converted.compared()

    assert found.problem == ""
    assert found.nodes >= 8
    assert found.beyond(1) is None
    assert 0 <= found.accumulated < 10
    assert all(array.dtype in (np.int8, np.int16) for array in converted.values.values())


def test_a_scaling_of_the_inputs_is_compared_after_its_factor():
    tensorflow()
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2))
    x = layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer="ones", name="depthwise")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(x)
    x = layers.Dense(4, activation="softmax", name="scores")(layers.Flatten(name="flatten")(x))
    network = tf_keras.Model(inputs, x)
    network.get_layer("norm").set_weights([np.full(2, 0.1), np.zeros(2), np.zeros(2), np.ones(2)])

    found = trained(network, shared=False).compared()

    assert found.nodes >= 3
    assert found.beyond(1) is None


def more_bias(content, node):
    bias = content.buffers[content.subgraphs[0].tensors[node.inputs[2]].buffer]
    values = bias.data.view(np.int32).copy()
    values[1] += 10 * np.abs(values).max() + 1000
    bias.data = values.view(np.uint8)


def other_multiplier(content, node):
    kernel = content.subgraphs[0].tensors[node.inputs[1]]
    kernel.quantization.scale = [value * 1.5 for value in kernel.quantization.scale]


@pytest.mark.parametrize("edit", [more_bias, other_multiplier])
@pytest.mark.parametrize("layer", ["depthwise", "hidden"])
def test_a_wrong_layer_is_named_as_in_the_users_model(converted, layer, edit):
    found = converted.compared(converted.edited(layer, edit))

    assert found.beyond(2).layer == f"my {layer}"
    assert found.beyond(2).largest_difference > 5
    assert [each.layer for each in found.origins if each.largest_difference > 2] == [f"my {layer}"]
    assert found.accumulated > 2


def test_a_range_that_is_too_small_for_what_was_trained_is_named(of_keras):
    def halve(content, node):
        content.subgraphs[0].tensors[node.outputs[0]].quantization.scale = [scales[0] / 2]

    place = tensor_of(of_keras.content, "hidden")
    scales = read_tflite(of_keras.content).tensors[place].scales
    halved = (of_keras.values[place] + 128) * 2 - 128  # the same numbers in the steps of that file
    narrow = Converted(of_keras.edited("hidden", halve), of_keras.values | {place: halved})

    assert narrow.compared().beyond(2).layer == "my hidden"


def test_an_average_pooling_has_the_range_of_its_input_in_training(network, of_keras):
    apart = trained(network, shared=False).compared()

    assert apart.beyond(2).layer == "my average"
    assert of_keras.compared().beyond(2) is None


def test_what_has_no_fake_quantization_is_read_and_not_compared(of_keras):
    place = tensor_of(of_keras.content, "depthwise")
    values = dict(of_keras.values)
    only_read = {place: values.pop(place)}
    content = of_keras.edited("depthwise", more_bias)

    found = compare_values(
        read_tflite(content), values, Counterpart(title="it"), host_runtime("litert"), only_read=only_read
    )

    assert found.beyond(2) is None
    assert found.nodes == of_keras.compared().nodes - 1


def test_another_model_is_no_counterpart(of_float, tiny_tflite):
    with pytest.raises(InputError, match="the float file has"):
        simulated_values(read_tflite(of_float.content), read_tflite(tiny_tflite), [INPUTS])


def test_without_values_it_says_why(of_float):
    found = compare_values(
        read_tflite(of_float.content), {}, Counterpart(title="it", problem="a loop"), host_runtime("litert")
    )

    assert (found.problem, found.nodes) == ("a loop", 0)


def test_a_comparison_of_nothing_is_no_pass(of_keras):
    flat = read_tflite(of_keras.content)
    inputs = {index: of_keras.values[index] for index in flat.subgraphs[0].inputs}
    others = {index: array for index, array in of_keras.values.items() if index not in inputs}

    found = compare_values(flat, inputs, Counterpart(title="it"), host_runtime("litert"), only_read=others)

    assert found.problem == "none of its layers is in the file"
