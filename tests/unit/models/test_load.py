"""Whole models: nested, shared, of several inputs, frozen in part, with operations between the layers."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from importlib import import_module

import numpy as np
import pytest

from models.load import load_model, notes_on_dropped
from models.summary import describe_model

FILES = [("keras", ".keras"), ("keras", ".h5"), ("tf_keras", ".keras"), ("tf_keras", ".h5")]


def nested(library):
    layers = library.layers
    inputs = library.Input((8, 8, 3), name="image")
    augment = library.Sequential([layers.RandomFlip(), layers.Rescaling(0.5)], name="augment")
    trunk_in = library.Input((8, 8, 3))
    inner = library.Sequential(
        [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()], name="inner"
    )
    trunk = library.Model(trunk_in, layers.Flatten()(inner(trunk_in)), name="trunk")
    inner.layers[0].trainable = False
    x = layers.Dropout(0.1)(trunk(augment(inputs)))
    return library.Model(inputs, layers.Dense(3, activation="softmax")(x))


def twins(library):
    layers = library.layers
    shared = library.Sequential([library.Input((6,)), layers.Dense(4, activation="relu"), layers.Dense(2)])
    again = layers.Dense(4)
    first, second = library.Input((6,), name="b"), library.Input((6,), name="a")
    x = layers.Concatenate()([shared(first), shared(second)])
    return library.Model([first, second], [layers.Dense(3)(again(again(x))), x])


def residual(library):
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs / 2.0 - 1.0)
    y = layers.Conv2D(4, 3, padding="same")(x)
    return library.Model(inputs, layers.GlobalAveragePooling2D()(3.0 - (x + y) * 0.5))


def sequential_around_functional(library):
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    base = library.Model(inputs, layers.Conv2D(4, 3)(inputs))
    return library.Sequential([library.Input((8, 8, 3)), base, layers.Flatten(), layers.Dense(2)])


def activation_as_a_layer(library):
    layers = library.layers
    leaky = layers.LeakyReLU(alpha=0.1) if library.__name__ == "tf_keras" else layers.LeakyReLU(0.1)
    return library.Sequential([library.Input((5,)), layers.Dense(4, activation=leaky), layers.Dense(2)])


@pytest.mark.parametrize(("library_name", "suffix"), FILES)
@pytest.mark.parametrize(
    "build", [nested, twins, residual, sequential_around_functional, activation_as_a_layer]
)
def test_a_model_computes_the_same_after_loading(build, library_name, suffix, randomised, save, outputs):
    model = randomised(build(import_module(library_name)))

    loaded = load_model(save(model, suffix))

    rng = np.random.default_rng(0)
    x = [rng.random((3, *tensor.shape[1:]), np.float32) for tensor in loaded.inputs]
    x = x[0] if len(x) == 1 else x
    for expected, got in zip(outputs(model, x), outputs(loaded, x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    assert not any(hasattr(layer, "layers") for layer in loaded.layers)


@pytest.mark.parametrize(("library_name", "suffix"), FILES)
def test_reduced_precision_is_read_as_float32(library_name, suffix, save):
    library = import_module(library_name)
    layers = [library.Input((4,), batch_size=7), library.layers.Dense(2, dtype="mixed_float16")]
    model = library.Sequential(layers)

    loaded = load_model(save(model, suffix))

    assert loaded.dtype == "float32"
    assert loaded.input_shape == (None, 4)
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(("library_name", "suffix"), FILES)
def test_an_input_of_indices_is_one_of_integers(library_name, suffix, save):
    library = import_module(library_name)
    model = library.Sequential(
        [library.Input((4,)), library.layers.Embedding(9, 2), library.layers.Flatten()]
    )

    assert load_model(save(model, suffix)).inputs[0].dtype == "int32"


def test_a_frozen_normalization_stays_frozen(save):
    import keras

    norm = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(2, 3), norm])
    norm.trainable = False

    loaded = load_model(save(model, ".keras"))

    assert [layer.trainable for layer in loaded.layers] == [True, True, False]


def test_more_than_ten_layers_of_a_class_keep_their_order(randomised, save, outputs):
    import keras

    model = randomised(keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3) for _ in range(12))]))

    loaded = load_model(save(model, ".keras"))

    x = np.ones((1, 3), np.float32)
    np.testing.assert_allclose(outputs(loaded, x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)


def test_a_summary_needs_no_tensorflow(save):
    import keras

    path = save(nested(keras), ".keras")
    code = (
        "import sys; from pathlib import Path; from models.summary import describe_model;"
        f"s = describe_model(Path({str(path)!r}));"
        "print(s.keras, s.parameters, 'tensorflow' in sys.modules or 'keras' in sys.modules)"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.split() == ["Keras", keras.__version__, "563", "False"]


@pytest.mark.parametrize(("library_name", "suffix"), FILES)
def test_a_summary_lists_layers_shapes_and_parameters(library_name, suffix, save):
    library = import_module(library_name)
    model = nested(library)
    path = save(model, suffix)

    summary = describe_model(path)

    assert summary.parameters == model.count_params()
    assert summary.size_bytes == path.stat().st_size
    listed = {layer.class_name: layer for layer in summary.layers}
    assert listed["Conv2D"].output_shape == (None, 6, 6, 4)
    assert listed["Conv2D"].parameters == 3 * 3 * 3 * 4 + 4
    assert {layer.dtype for layer in summary.layers} == {"float32"}


def edit_config(path, change):
    """Write the archive again with its configuration changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    copy = path.with_name("edited.keras")
    copy.write_bytes(buffer.getvalue())
    return copy


def test_layers_are_found_in_any_order_of_the_file(randomised, save, outputs):
    import keras

    model = randomised(nested(keras))
    path = edit_config(save(model, ".keras"), lambda config: config["config"]["layers"].reverse())

    loaded = load_model(path)

    x = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    np.testing.assert_allclose(outputs(loaded, x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("library_name", ["keras", "tf_keras"])
def test_constraints_and_regularizers_that_a_further_training_is_without_are_named(
    library_name, suffix, save
):
    library = import_module(library_name)
    layers, constraints = library.layers, library.constraints
    nested = library.Sequential(
        [library.Input((4,)), layers.Dense(4, bias_constraint=constraints.NonNeg(), name="inner")]
    )
    model = library.Sequential(
        [
            *(library.Input((4,)), nested, layers.ActivityRegularization(0.1, name="quiet")),
            layers.Dense(2, kernel_constraint=constraints.MaxNorm(2), kernel_regularizer="l2", name="outer"),
        ]
    )

    constrained, penalized = notes_on_dropped(save(model, suffix))

    assert "layer 'inner' (bias_constraint=NonNeg), layer 'outer' (kernel_constraint=MaxNorm)" in constrained
    assert "build with --trust-model" in constrained
    assert "layer 'quiet' (ActivityRegularization), layer 'outer' (kernel_regularizer=L2)" in penalized


def test_of_a_model_without_constraints_nothing_is_said(save):
    import keras

    assert notes_on_dropped(save(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), ".h5")) == ()


def test_a_model_that_keeps_its_state_is_noted_and_the_way_to_keep_it(save):
    import keras

    inputs = keras.Input((6, 4), batch_size=2)
    model = keras.Model(inputs, keras.layers.LSTM(3, stateful=True, name="memory")(inputs))

    [note] = notes_on_dropped(save(model, ".keras"))

    assert "each sample starts with zeros: layer 'memory' (stateful=True); for a stream" in note
    assert "initial_state=" in note
