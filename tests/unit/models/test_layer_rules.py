"""Every layer that has a row, saved by the real Keras 3 and the real tf_keras, comes back as it was."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from layer_cases import (
    CASES,
    IMAGE,
    IN_BOTH,
    IN_LEGACY_ONLY,
    LEGACY,
    NEVER_HDF5,
    NOTHING,
    ON_GPU_ONLY,
    ONLY_KERAS3,
    ONLY_LEGACY,
    SERIES,
    make_layer,
    make_model,
    samples,
)

from models.allowlist import DO_NOTHING
from models.errors import ModelError
from models.graph import Layer
from models.layer_rules import LAYERS, NO_SCHEME, LayerRule
from models.load import load_model, read_file
from models.masks import mask_after
from models.prepare import prepare
from models.rewrites.coverage import unsupported_by_qat, without_int8
from models.settings import USUAL, is_harmless, refuse_unread, takes_any
from models.shape_inference import infer_shapes

ALL = [(kind, index) for kind, cases in CASES.items() for index in range(len(cases))]
IDS = [f"{kind}-{index}" for kind, index in ALL]
NOTHING_FILES = [
    (kind, library, suffix)
    for kind in NOTHING
    for library in ("keras", LEGACY)
    for suffix in (".keras", ".h5")
    if kind in IN_BOTH or (kind in IN_LEGACY_ONLY) == (library == LEGACY)
    if not (library == "keras" and suffix == ".h5" and kind in NEVER_HDF5)
]
FILES = [("keras", ".keras"), ("keras", ".h5"), (LEGACY, ".keras"), (LEGACY, ".h5")]


@pytest.mark.parametrize(("library_name", "suffix"), FILES)
@pytest.mark.parametrize(("kind", "index"), ALL, ids=IDS)
def test_a_layer_computes_the_same_after_loading(
    kind, index, library_name, suffix, randomised, save, outputs
):
    if kind in (ONLY_KERAS3 if library_name == LEGACY else ONLY_LEGACY):
        pytest.skip("the other Keras has no such layer")
    library = import_module(library_name)
    shape, arguments = CASES[kind][index]
    model = randomised(make_model(library, shape, make_layer(library, kind, arguments)))
    path = save(model, suffix)
    x = samples(shape, integers=kind == "Embedding")
    if kind == "Normalization" and not arguments:
        model = library.models.load_model(path)  # Keras takes the mean that was set only after a reload

    loaded = load_model(path)

    for expected, got in zip(outputs(model, x), outputs(loaded, x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    graph, _ = read_file(path)
    inferred = [infer_shapes(graph)[tensor] for tensor in graph.outputs]
    assert inferred == [tuple(tensor.shape) for tensor in loaded.outputs]


@pytest.mark.parametrize(("kind", "library_name", "suffix"), NOTHING_FILES)
def test_a_layer_that_does_nothing_at_inference_is_left_out(kind, library_name, suffix, save, outputs):
    library = import_module(library_name)
    layer = make_layer(library, kind, NOTHING[kind])
    inputs = library.Input((8, 8, 3))
    model = library.Model(inputs, library.layers.Flatten()(layer(inputs)))
    path = save(model, suffix)

    loaded = load_model(path)

    assert [type(layer).__name__ for layer in loaded.layers] == ["InputLayer", "Flatten"]
    x = samples((8, 8, 3))
    np.testing.assert_array_equal(outputs(loaded, x)[0], outputs(model, x)[0])


EXISTING = [
    (library, kind)
    for library in ("keras", LEGACY)
    for kind in CASES
    if kind not in (ONLY_KERAS3 if library == LEGACY else ONLY_LEGACY)
]


@pytest.mark.parametrize(("library_name", "kind"), EXISTING)
def test_every_setting_of_a_layer_is_read_harmless_or_refused_where_it_is_not_as_usual(
    library_name, kind, legacy_keras
):
    fields = make_layer(import_module(library_name), kind, CASES[kind][0][1]).get_config()
    read = LAYERS[kind].config

    for key in fields:
        if key not in USUAL or takes_any(kind, key, read):
            assert key in read or is_harmless(key), key
            continue
        refuse_unread("layer", kind, {key: USUAL[key][-1]}, read)
        with pytest.raises(ModelError, match=rf"'layer' \({kind}\): {key}='odd' is not supported; "):
            refuse_unread("layer", kind, {key: "odd"}, read)


def test_every_layer_that_has_a_row_is_tried():
    assert set(CASES) | {"InputLayer", *ON_GPU_ONLY} == set(LAYERS)
    assert set(NOTHING) == DO_NOTHING - {"StochasticDepth"}  # of keras.applications


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ON_GPU_ONLY)
def test_a_layer_for_gpus_is_read_as_the_one_that_computes_the_same(kind, wrapped, randomised, save, outputs):
    import tensorflow as tf
    import tf_keras

    def build(layer):
        layer = tf_keras.layers.Bidirectional(layer, name="both") if wrapped else layer
        return tf_keras.Sequential([tf_keras.Input(SERIES), layer])

    path = save(randomised(build(getattr(tf.compat.v1.keras.layers, kind)(3, name="r"))), ".h5")
    twin = build(getattr(tf_keras.layers, kind.removeprefix("CuDNN"))(3, name="r"))
    twin.load_weights(path)  # Keras converts the arrays

    x = samples(SERIES)
    np.testing.assert_allclose(outputs(load_model(path), x)[0], outputs(twin, x)[0], rtol=0, atol=1e-5)


def test_settings_that_old_versions_wrote_otherwise_are_read(save, outputs):
    import json

    import h5py
    import tf_keras

    layers = [tf_keras.layers.LeakyReLU(alpha=0.1), tf_keras.layers.GRU(3, reset_after=False)]
    model = tf_keras.Sequential([tf_keras.Input(SERIES), *layers])
    path = save(model, ".h5")
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        leaky, gru = config["config"]["layers"][1:]
        leaky["config"]["alpha"] = {"type": "ndarray", "value": leaky["config"]["alpha"]}
        del gru["config"]["reset_after"]
        file.attrs["model_config"] = json.dumps(config)

    x = samples(SERIES)
    np.testing.assert_allclose(outputs(load_model(path), x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("activation", ["hard_sigmoid", "hard_silu", "hard_swish", "silu"])
def test_an_activation_that_tf_keras_means_otherwise_is_spelled_out(activation, suffix, save, outputs):
    import keras

    inputs = keras.Input(IMAGE)
    x = keras.layers.Conv2D(3, 3, activation=activation)(inputs)
    model = keras.Model(inputs, keras.layers.Activation(activation)(x))

    loaded = load_model(save(model, suffix))

    x = samples(IMAGE)
    np.testing.assert_allclose(outputs(loaded, x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_synchronized_normalization_is_read_as_the_usual_one(suffix, randomised, save, outputs):
    import tf_keras

    normalization = tf_keras.layers.experimental.SyncBatchNormalization()
    model = randomised(tf_keras.Sequential([tf_keras.Input(IMAGE), normalization]))

    loaded = load_model(save(model, suffix))

    x = samples(IMAGE)
    assert type(loaded.layers[-1]).__name__ == "BatchNormalization"
    np.testing.assert_allclose(outputs(loaded, x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["BatchNormalizationV1", "BatchNormalizationV2"])
def test_a_normalization_under_the_name_of_an_old_version_is_read(kind, randomised, save, outputs):
    import h5py
    import tf_keras

    model = randomised(tf_keras.Sequential([tf_keras.Input(IMAGE), tf_keras.layers.BatchNormalization()]))
    path = save(model, ".h5")
    with h5py.File(path, "r+") as file:
        named = file.attrs["model_config"].replace('"BatchNormalization"', f'"{kind}"')
        file.attrs["model_config"] = named

    x = samples(IMAGE)
    np.testing.assert_allclose(outputs(load_model(path), x)[0], outputs(model, x)[0], rtol=0, atol=1e-5)


# Keras 3 passes the mask on, tf_keras forgot to say so; masks of a wrapper are those of what it holds.
MASKED_OTHERWISE = {"Rescaling", "Normalization", "TimeDistributed"}
LEGACY_KINDS = sorted(CASES.keys() - ONLY_KERAS3 - {"RNN"})


@pytest.mark.parametrize("kind", sorted(set(LEGACY_KINDS) - MASKED_OTHERWISE))
def test_a_mask_is_passed_on_as_keras_does(kind, legacy_keras):
    import tensorflow as tf
    import tf_keras

    shape, arguments = CASES[kind][0]
    layer = make_layer(tf_keras, kind, arguments)
    inputs = make_model(tf_keras, shape, layer).inputs
    several = isinstance(shape, list)
    mask = tf.ones((2, 4), bool)
    passed = None
    if layer.supports_masking:
        passed = layer.compute_mask(
            inputs if several else inputs[0], [mask] * len(inputs) if several else mask
        )

    rule = LAYERS[kind]
    assert rule.mask == "uses" or (rule.mask == "passes") == (passed is not None)


@pytest.mark.parametrize("kind", sorted(kind for kind in LEGACY_KINDS if not LAYERS[kind].not_in_qat))
def test_tfmot_quantizes_what_the_rows_say(kind, legacy_keras):
    import tf_keras
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry,
    )

    shape, arguments = CASES[kind][0]
    layer = make_layer(tf_keras, kind, arguments)
    make_model(tf_keras, shape, layer)

    is_folded = kind == "BatchNormalization"  # into the convolution before it
    assert is_folded or default_8bit_quantize_registry.Default8BitQuantizeRegistry().supports(layer)


@pytest.fixture
def halving(legacy_keras, monkeypatch):
    """A layer that tf_keras gains, as a new version might: the size of a series and its values halved."""
    import tf_keras

    class Halving(tf_keras.layers.Layer):
        def __init__(self, factor=0.5, **settings):
            super().__init__(**settings)
            self.factor = factor

        def call(self, inputs):
            return inputs[:, ::2] * self.factor

        def get_config(self):
            return {**super().get_config(), "factor": self.factor}

    Halving.__module__ = "tf_keras.layers"
    monkeypatch.setattr(tf_keras.layers, "Halving", Halving, raising=False)
    return Halving


def test_a_layer_is_added_by_one_row(halving, randomised, save, outputs, monkeypatch):
    import tf_keras

    def build(last):
        inputs = tf_keras.Input(SERIES)
        steps = tf_keras.layers.Conv1D(3, 3, padding="same")(inputs)
        return tf_keras.Model(inputs, last(halving(0.25, name="half")(steps)))

    path = save(model := randomised(build(tf_keras.layers.Softmax(name="last"))), ".h5")
    with pytest.raises(ModelError, match=r"'half' \(Halving\): it is not among the supported layers"):
        load_model(path)

    def halved(config, inputs, inner):
        return (inputs[0][0], (inputs[0][1] + 1) // 2, *inputs[0][2:])

    monkeypatch.setitem(
        LAYERS, "Halving", LayerRule(("factor",), output=halved, keeps_range=True, not_in_int8="it is new")
    )

    x = samples(SERIES)
    np.testing.assert_allclose(outputs(load_model(path), x)[0], outputs(model, x)[0], atol=1e-6)
    graph, _ = read_file(path)
    assert infer_shapes(graph)[graph.outputs[0]] == (None, 5, 3)
    prepared, *_ = prepare(load_model(path))
    assert unsupported_by_qat(prepared)["half"] == NO_SCHEME
    assert without_int8(prepared)["half"] == "it is new"
    with pytest.raises(ModelError, match="unknown setting"):
        refuse_unread("half", "Halving", {"other": 1}, LAYERS["Halving"].config)


@pytest.mark.parametrize(("mask", "carried"), [("passes", "words"), ("drops", "")])
def test_the_row_of_a_layer_says_what_becomes_of_a_mask(mask, carried, monkeypatch):
    monkeypatch.setitem(LAYERS, "Halving", LayerRule(mask=mask))

    assert mask_after(Layer("half", "Halving"), ["words"]) == carried


def test_a_layer_whose_row_says_that_it_uses_a_mask_is_refused_behind_one(monkeypatch):
    monkeypatch.setitem(LAYERS, "Halving", LayerRule(mask="uses"))

    with pytest.raises(ModelError, match=r"'half' \(Halving\) skips the steps that 'words' masks"):
        mask_after(Layer("half", "Halving"), ["words"])
