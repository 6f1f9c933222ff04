"""Prepared models compute the same, and TF-MOT quantizes every kernel of them."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from models.prepare import prepare, random_inputs, unsupported_by_qat, without_int8
from pipeline.training.tfmot import tensorflow_model_optimization

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

    prepared, rewrites, _ = prepare(model)

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

    prepared, *_ = prepare(model)

    norms = [layer for layer in prepared.layers if type(layer).__name__ == "BatchNormalization"]
    assert len(norms) == 3
    assert not any(layer.trainable_weights for layer in norms)
    assert kernels_left_out(prepared, library) == set()


def test_a_convolution_that_two_layers_read_keeps_its_own_activation(library, randomised):
    layers = library.layers
    inputs = library.Input(IMAGE)
    x = layers.Conv2D(3, 3, padding="same")(inputs)
    model = randomised(library.Model(inputs, layers.Add()([layers.ReLU()(x), x])))

    prepared, rewrites, _ = prepare(model)

    assert kinds(prepared) == ["Conv2D", "ReLU", "Add"]
    assert rewrites == []


def test_a_shared_rectifier_is_fused_everywhere(library, randomised):
    layers = library.layers
    relu, inputs = layers.ReLU(), library.Input(IMAGE)
    x = relu(layers.Conv2D(3, 3)(inputs))
    model = randomised(library.Model(inputs, relu(layers.Conv2D(3, 3)(x))))

    prepared, *_ = prepare(model)

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

    prepared, *_ = prepare(model)

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

    prepared, *_ = prepare(model)

    assert prepared.output_shape == model.output_shape
    assert "Conv1D" not in kinds(prepared)


def test_a_convolution_used_twice_stays_one(library, randomised):
    layers = library.layers
    conv, norm = layers.Conv1D(3, 3, padding="same"), layers.BatchNormalization()
    inputs = library.Input(SERIES)
    model = randomised(library.Model(inputs, conv(norm(conv(norm(inputs))))))

    prepared, *_ = prepare(model)

    assert kinds(prepared).count("Conv2D") == 1


def test_separable_convolutions_are_split(sequential, library):
    model = sequential(IMAGE, library.layers.SeparableConv2D(4, 3, depth_multiplier=2, activation="relu"))

    prepared, *_ = prepare(model)

    assert kinds(prepared) == ["DepthwiseConv2D", "Conv2D"]
    assert prepared.count_params() == model.count_params()


def test_a_layer_with_a_new_name_is_traced_back_through_all_rewrites(library, randomised):
    inputs = library.Input((12, 3), name="series")
    x = library.layers.Rescaling(2.0, 1.0, name="scale")(inputs)
    x = library.layers.SeparableConv1D(4, 3, padding="causal", activation="elu", name="cell")(x)
    model = randomised(library.Model(inputs, library.layers.GlobalMaxPooling1D(name="pool")(x)))

    prepared, _, made_of = prepare(model)

    own = {layer.name for layer in model.layers}
    assert {layer.name for layer in prepared.layers} <= own | set(made_of)
    assert set(made_of.values()) <= own
    assert {made_of[name] for name in made_of if name.startswith("cell_")} == {"cell"}


def test_normalization_is_folded_into_dense(sequential, library):
    layers = library.layers
    model = sequential(VECTOR, layers.Dense(5, use_bias=False), layers.BatchNormalization(), layers.ReLU())

    prepared, *_ = prepare(model)

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
        *(layers.ReLU(), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(), layers.Dense(2)),
    )

    prepared, *_ = prepare(model)

    assert not {"Normalization", "Rescaling"} & set(kinds(prepared))
    assert unsupported_by_qat(prepared) == {}
    assert kernels_left_out(prepared, library) == set()
    scales = [layer for layer in prepared.layers if type(layer).__name__ == "BatchNormalization"]
    assert [layer.trainable for layer in scales] == [False, True]


def test_an_integer_image_input_becomes_float(sequential, library):
    layers = library.layers
    model = sequential(IMAGE, layers.Rescaling(1 / 255), layers.Conv2D(3, 3), dtype="uint8")

    prepared, *_ = prepare(model)

    assert prepared.inputs[0].dtype.name == "float32"


def test_indices_stay_integers(sequential, library):
    layers = library.layers
    model = sequential((9,), layers.Embedding(7, 4), layers.Conv1D(3, 3), layers.Flatten(), dtype="int32")

    prepared, *_ = prepare(model)

    assert prepared.inputs[0].dtype.name == "int32"
    assert list(unsupported_by_qat(prepared)) == [model.layers[0].name]


def test_what_only_training_uses_goes(sequential, library):
    layers = library.layers
    model = sequential(
        *(IMAGE, layers.GaussianNoise(0.1), layers.SpatialDropout2D(0.1), layers.Flatten()),
        *(layers.Dropout(0.1), layers.Dense(3), layers.Activation("linear")),
    )

    prepared, rewrites, _ = prepare(model)

    assert kinds(prepared) == ["Flatten", "Dense"]
    assert len(rewrites) == 4


@pytest.mark.parametrize("activation", ["elu", "selu"])
def test_exponential_units_are_spelled_out(sequential, library, activation):
    model = sequential(VECTOR, library.layers.Dense(5, activation=activation), library.layers.Dense(2))

    prepared, rewrites, _ = prepare(model)

    assert {"ReLU", "Subtract", "Activation", "Add"} <= set(kinds(prepared))
    assert any("relu and exp" in rewrite.what for rewrite in rewrites)
    assert without_int8(prepared) == {}


@pytest.mark.parametrize("activation", ["softplus", "mish", "softsign"])
def test_an_activation_without_int8_form_stays_and_is_named(sequential, library, activation):
    model = sequential(VECTOR, library.layers.Dense(3), library.layers.Activation(activation, name="odd"))

    prepared, *_ = prepare(model)

    assert list(without_int8(prepared)) == ["odd"]
    assert "odd" in unsupported_by_qat(prepared)


@pytest.mark.parametrize("centred", [True, False])
def test_a_normalization_over_one_value_is_a_constant(library, randomised, centred):
    series = library.Input((16, 1))
    attended = library.layers.MultiHeadAttention(2, 4)(series, series)
    constant = library.layers.LayerNormalization(center=centred, name="constant")(attended)
    added = library.layers.Add()([constant, series])
    model = randomised(library.Model(series, library.layers.Dense(3)(library.layers.Flatten()(added))))

    prepared, rewrites, _ = prepare(model)

    assert not {"MultiHeadAttention", "LayerNormalization"} & set(kinds(prepared))
    assert "constant" in [rewrite.layer for rewrite in rewrites]


def test_a_normalization_over_several_values_stays(sequential, library):
    prepared, *_ = prepare(sequential((16, 2), library.layers.LayerNormalization(axis=[1, 2])))

    assert "LayerNormalization" in kinds(prepared)


def test_an_activation_that_tfmot_does_not_know_stays(sequential, library):
    model = sequential(VECTOR, library.layers.Dense(3), library.layers.Activation("exponential", name="odd"))

    prepared, *_ = prepare(model)

    assert without_int8(prepared) == {}
    assert "odd" in unsupported_by_qat(prepared)


def test_preparing_leaves_the_model_alone_and_a_second_time_changes_nothing(sequential, library):
    layers = library.layers
    model = sequential(
        IMAGE, layers.Conv2D(3, 3), layers.ReLU(6.0), layers.BatchNormalization(), layers.Flatten()
    )
    before = [array.copy() for array in model.get_weights()]

    prepared, *_ = prepare(model)
    for variable in prepared.weights:
        variable.assign(variable + 1)
    again, rewrites, _ = prepare(prepared)

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

    prepared, *_ = prepare(model)

    reasons = unsupported_by_qat(prepared)
    assert list(reasons) == [layer.name for layer in model.layers]
    assert all(reasons.values())


def test_a_series_that_is_scaled_first_is_reshaped_once(sequential, library):
    layers = library.layers
    scale = layers.Normalization(mean=[0.5] * 3, variance=[2.0] * 3)
    model = sequential(SERIES, scale, layers.BatchNormalization(), layers.Conv1D(4, 3), layers.Flatten())

    prepared, *_ = prepare(model)

    assert kinds(prepared).count("Reshape") == 1


@pytest.mark.parametrize("after", [True, False])
def test_normalization_goes_into_convolutions_that_tfmot_does_not_fold_it_into(sequential, library, after):
    layers = library.layers
    convolutions = [layers.Conv2D(4, 3, groups=2), layers.Dense(4)]
    if after:
        convolutions += [layers.Conv2DTranspose(4, 3)]
    else:
        convolutions += [layers.Conv2D(4, 3), layers.DepthwiseConv2D(3)]
    for convolution in convolutions:
        norm = layers.BatchNormalization()
        model = sequential((8, 8, 4), *((convolution, norm) if after else (norm, convolution)))

        prepared, rewrites, _ = prepare(model)

        assert kinds(prepared) == [type(convolution).__name__]
        assert [rewrite.what for rewrite in rewrites] == [f"was folded into {convolution.name!r}"]


def test_normalization_before_a_convolution_that_pads_is_not_folded(sequential, library):
    layers = library.layers
    model = sequential(IMAGE, layers.BatchNormalization(), layers.Conv2D(4, 3, padding="same"))

    prepared, *_ = prepare(model)

    assert kinds(prepared) == ["DepthwiseConv2D", "BatchNormalization", "Conv2D"]


def test_a_scaling_that_would_shrink_a_kernel_is_not_folded(sequential, library):
    model = sequential(IMAGE, library.layers.Rescaling(1 / 255), library.layers.Conv2D(4, 3))

    prepared, *_ = prepare(model)

    assert kinds(prepared) == ["DepthwiseConv2D", "BatchNormalization", "Conv2D"]


def test_a_name_that_a_rewrite_would_choose_may_be_taken(library, randomised):
    layers, inputs = library.layers, library.Input(IMAGE)
    x = layers.Conv2D(3, 1, activation="swish", name="a")(inputs)
    model = randomised(library.Model(inputs, layers.Conv2D(3, 1, name="a_swish")(x)))

    prepared, _, made_of = prepare(model)

    assert kinds(prepared) == ["Conv2D", "Activation", "Conv2D"]
    assert made_of == {"a_swish_1": "a"}


def test_random_inputs_fit_every_input(library, randomised):
    layers = library.layers
    word, image = library.Input((None,), dtype="int32"), library.Input((None, None, 3))
    number = library.Input((4,))
    table = layers.GlobalAveragePooling1D()(layers.Embedding(5, 2)(word))
    pooled = layers.GlobalMaxPooling2D()(layers.Conv2D(2, 3)(image))
    merged = layers.Concatenate()([table, pooled, number])
    model = randomised(library.Model([word, image, number], [merged, table]))

    samples = random_inputs(model, 3)
    prepared, *_ = prepare(model)

    assert [sample.shape for sample in samples] == [(3, 32), (3, 96, 96, 3), (3, 4)]
    assert samples[0].dtype == np.int32
    assert samples[0].max() < 5
    assert len(prepared.outputs) == 2
