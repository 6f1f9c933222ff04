"""Prepared models compute the same, and TF-MOT quantizes every kernel of them."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from models.prepare import prepare, unsupported_by_qat
from pipeline.tfmot import tensorflow_model_optimization

IMAGE, SERIES, VECTOR = (12, 12, 3), (16, 3), (6,)


@pytest.fixture
def library():
    tensorflow_model_optimization()
    return import_module("tf_keras")


@pytest.fixture
def sequential(library, randomised):
    """Build a Sequential with random weights."""

    def build(shape, *layers, dtype="float32"):
        return randomised(library.Sequential([library.Input(shape, dtype=dtype), *layers]))

    return build


def kinds(model):
    return [type(layer).__name__ for layer in model.layers][1:]


def kernels_left_out(model, library):
    """Annotate what is supported, and return the layers whose kernels TF-MOT then does not quantize."""
    quantization = tensorflow_model_optimization().quantization.keras
    left_out = unsupported_by_qat(model)

    def annotate(layer):
        is_input = isinstance(layer, library.layers.InputLayer)
        return layer if is_input or layer.name in left_out else quantization.quantize_annotate_layer(layer)

    annotated = library.models.clone_model(model, clone_function=annotate)
    aware = quantization.quantize_apply(annotated)
    wrapped = [
        layer for layer in aware.layers if hasattr(layer, "quantize_config") and hasattr(layer, "layer")
    ]
    with_kernel = [
        layer for layer in wrapped if any("kernel" in weight.name for weight in layer.layer.weights)
    ]
    return {
        layer.layer.name
        for layer in with_kernel
        if not layer.quantize_config.get_weights_and_quantizers(layer.layer)
    }


def test_a_separate_rectifier_is_fused(sequential, library):
    layers = library.layers
    model = sequential(
        IMAGE,
        *(layers.Conv2D(4, 3), layers.ReLU(), layers.DepthwiseConv2D(3), layers.Activation("relu")),
        *(layers.Conv2DTranspose(4, 3), layers.ReLU(), layers.Flatten(), layers.Dense(3), layers.ReLU()),
    )
    assert kernels_left_out(model, library)

    prepared, rewrites = prepare(model)

    assert kinds(prepared) == ["Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "Flatten", "Dense"]
    assert kernels_left_out(prepared, library) == set()
    assert len(rewrites) == 4


def test_a_rectifier_with_a_limit_gets_a_frozen_identity(sequential, library):
    layers = library.layers
    model = sequential(
        IMAGE,
        *(layers.Conv2D(4, 3, activation="relu6"), layers.DepthwiseConv2D(3), layers.ReLU(6.0)),
        *(layers.Flatten(), layers.Dense(4), layers.ReLU(max_value=2.0, threshold=0.5)),
    )

    prepared, _ = prepare(model)

    norms = [layer for layer in prepared.layers if type(layer).__name__ == "BatchNormalization"]
    assert len(norms) == 3
    assert not any(layer.trainable_weights for layer in norms)
    assert kernels_left_out(prepared, library) == set()


def test_a_convolution_that_two_layers_read_keeps_its_own_activation(library, randomised):
    layers = library.layers
    inputs = library.Input(IMAGE)
    x = layers.Conv2D(3, 3, padding="same")(inputs)
    model = randomised(library.Model(inputs, layers.Add()([layers.ReLU()(x), x])))

    prepared, rewrites = prepare(model)

    assert kinds(prepared) == ["Conv2D", "ReLU", "Add"]
    assert rewrites == []


def test_a_shared_rectifier_is_fused_everywhere(library, randomised):
    layers = library.layers
    relu, inputs = layers.ReLU(), library.Input(IMAGE)
    x = relu(layers.Conv2D(3, 3)(inputs))
    model = randomised(library.Model(inputs, relu(layers.Conv2D(3, 3)(x))))

    prepared, _ = prepare(model)

    assert kinds(prepared) == ["Conv2D", "Conv2D"]


def test_one_dimensional_convolutions_become_two_dimensional(sequential, library):
    layers = library.layers
    model = sequential(
        SERIES,
        *(layers.Conv1D(8, 3, padding="causal", dilation_rate=2), layers.BatchNormalization(), layers.ReLU()),
        *(layers.MaxPooling1D(2), layers.SeparableConv1D(8, 3, strides=2, activation="relu")),
        *(layers.ZeroPadding1D(2), layers.SpatialDropout1D(0.1), layers.DepthwiseConv1D(3, padding="same")),
        *(layers.UpSampling1D(2), layers.Cropping1D(1), layers.Conv1DTranspose(4, 3, strides=2)),
        *(layers.AveragePooling1D(2), layers.Dropout(0.1), layers.Dense(5), layers.LeakyReLU(0.1)),
        *(layers.GlobalMaxPooling1D(), layers.Dense(3, activation="softmax")),
    )

    prepared, _ = prepare(model)

    assert not any("1D" in kind for kind in kinds(prepared))
    assert kinds(prepared).count("Reshape") == 1
    assert kernels_left_out(prepared, library) == set()
    assert unsupported_by_qat(prepared) == {}


@pytest.mark.parametrize("keepdims", [False, True])
def test_a_branched_series_goes_back_where_it_is_read_as_one(library, randomised, keepdims):
    layers = library.layers
    inputs = library.Input(SERIES)
    x = layers.Conv1D(4, 3, padding="same")(inputs)
    gate = layers.GlobalAveragePooling1D(keepdims=keepdims)(x)
    gate = layers.Reshape((1, 4))(layers.Dense(4, activation="sigmoid")(gate))
    x = layers.Multiply()([layers.Concatenate(axis=1)([x, x]), gate])
    x = layers.Softmax()(x)
    model = randomised(library.Model(inputs, [layers.LSTM(3)(x), layers.Permute((2, 1))(x)]))

    prepared, _ = prepare(model)

    assert prepared.output_shape == model.output_shape
    assert "Conv1D" not in kinds(prepared)


def test_a_convolution_used_twice_stays_one(library, randomised):
    layers = library.layers
    conv, norm = layers.Conv1D(3, 3, padding="same"), layers.BatchNormalization()
    inputs = library.Input(SERIES)
    model = randomised(library.Model(inputs, conv(norm(conv(norm(inputs))))))

    prepared, _ = prepare(model)

    assert kinds(prepared).count("Conv2D") == 1


def test_separable_convolutions_are_split(sequential, library):
    model = sequential(IMAGE, library.layers.SeparableConv2D(4, 3, depth_multiplier=2, activation="relu"))

    prepared, _ = prepare(model)

    assert kinds(prepared) == ["DepthwiseConv2D", "Conv2D"]
    assert prepared.count_params() == model.count_params()


def test_normalization_is_folded_into_dense(sequential, library):
    layers = library.layers
    model = sequential(VECTOR, layers.Dense(5, use_bias=False), layers.BatchNormalization(), layers.ReLU())

    prepared, _ = prepare(model)

    assert kinds(prepared) == ["Dense"]


@pytest.mark.parametrize("shape", [IMAGE, SERIES, VECTOR])
def test_a_scaling_without_a_convolution_gets_one(shape, sequential, library):
    layers = library.layers
    model = sequential(
        shape,
        *(
            layers.Normalization(mean=[1.0] * shape[-1], variance=[4.0] * shape[-1]),
            layers.Rescaling(2.0, -1.0),
        ),
        *(layers.ReLU(), layers.BatchNormalization(), layers.Flatten(), layers.Dense(2)),
    )

    prepared, _ = prepare(model)

    assert not {"Normalization", "Rescaling"} & set(kinds(prepared))
    assert unsupported_by_qat(prepared) == {}
    assert kernels_left_out(prepared, library) == set()
    scales = [layer for layer in prepared.layers if type(layer).__name__ == "BatchNormalization"]
    assert [layer.trainable for layer in scales] == [False]


def test_an_integer_image_input_becomes_float(sequential, library):
    layers = library.layers
    model = sequential(IMAGE, layers.Rescaling(1 / 255), layers.Conv2D(3, 3), dtype="uint8")

    prepared, _ = prepare(model)

    assert prepared.inputs[0].dtype.name == "float32"


def test_indices_stay_integers(sequential, library):
    layers = library.layers
    model = sequential((9,), layers.Embedding(7, 4), layers.Conv1D(3, 3), layers.Flatten(), dtype="int32")

    prepared, _ = prepare(model)

    assert prepared.inputs[0].dtype.name == "int32"
    assert list(unsupported_by_qat(prepared)) == [model.layers[0].name]


def test_what_matters_in_training_only_goes(sequential, library):
    layers = library.layers
    model = sequential(VECTOR, layers.GaussianNoise(0.1), layers.Dense(3), layers.Dropout(0.1))

    prepared, _ = prepare(model)

    assert kinds(prepared) == ["Dense"]


def test_preparing_leaves_the_model_alone_and_a_second_time_changes_nothing(sequential, library):
    layers = library.layers
    model = sequential(
        IMAGE, layers.Conv2D(3, 3), layers.ReLU(6.0), layers.BatchNormalization(), layers.Flatten()
    )
    before = [array.copy() for array in model.get_weights()]

    prepared, _ = prepare(model)
    for variable in prepared.weights:
        variable.assign(variable + 1)
    again, rewrites = prepare(prepared)

    for array, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, kept)
    assert rewrites == []
    assert kinds(again) == kinds(prepared)
    assert [layer.trainable for layer in again.layers] == [layer.trainable for layer in prepared.layers]


def test_what_quantization_aware_training_leaves_out_has_a_reason(sequential, library):
    layers = library.layers
    model = sequential(
        *(SERIES, layers.LSTM(4, return_sequences=True), layers.LayerNormalization()),
        layers.Activation("softsign"),
    )

    prepared, _ = prepare(model)

    reasons = unsupported_by_qat(prepared)
    assert list(reasons) == [layer.name for layer in model.layers]
    assert all(reasons.values())


def test_a_series_that_is_scaled_first_is_reshaped_once(sequential, library):
    layers = library.layers
    scale = layers.Normalization(mean=[0.5] * 3, variance=[2.0] * 3)
    model = sequential(SERIES, scale, layers.BatchNormalization(), layers.Conv1D(4, 3), layers.Flatten())

    prepared, _ = prepare(model)

    assert kinds(prepared).count("Reshape") == 1


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_layers_are_unrolled_and_both_directions_taken_apart(sequential, library, kind):
    layers = library.layers
    make = getattr(layers, kind)
    model = sequential(SERIES, layers.Bidirectional(make(4, return_sequences=True)), make(3))

    prepared, rewrites = prepare(model)

    recurrent = [layer for layer in prepared.layers if type(layer).__name__ == kind]
    assert len(recurrent) == 3
    assert all(layer.unroll for layer in recurrent)
    assert [rewrite.what for rewrite in rewrites] == [
        "was split into its two directions, unrolled over 16 steps",
        "was unrolled over 16 steps",
    ]


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize("sequences", [False, True])
def test_both_directions_are_merged_as_before(sequential, library, merge, sequences):
    layers = library.layers
    both = layers.Bidirectional(layers.GRU(3, return_sequences=sequences), merge_mode=merge)

    prepared, _ = prepare(sequential(SERIES, both))  # which compares the outputs

    assert "Bidirectional" not in kinds(prepared)


def test_a_recurrent_layer_with_too_many_steps_to_unroll_is_left_to_the_converter(sequential, library):
    model = sequential((200, 2), library.layers.GRU(3, name="memory"))

    prepared, rewrites = prepare(model)

    assert not prepared.get_layer("memory").unroll
    assert rewrites == []
    assert "memory" in unsupported_by_qat(prepared)


@pytest.mark.parametrize("activation", ["elu", "selu"])
def test_exponential_units_are_spelled_out(sequential, library, activation):
    model = sequential(VECTOR, library.layers.Dense(3, name="hidden"), library.layers.Activation(activation))

    prepared, rewrites = prepare(model)

    assert "ELU" not in kinds(prepared)
    assert any("relu and exp" in rewrite.what for rewrite in rewrites)


@pytest.mark.parametrize("activation", ["softplus", "mish", "softsign", "exponential"])
def test_any_other_activation_stays_and_is_left_to_the_converter(sequential, library, activation):
    model = sequential(VECTOR, library.layers.Dense(3), library.layers.Activation(activation, name="act"))

    prepared, _ = prepare(model)

    assert "act" in unsupported_by_qat(prepared)
