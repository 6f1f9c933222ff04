"""A setting that would be lost and may change a layer's result is refused; others are dropped."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

from models.errors import ModelError
from models.keras3 import read_graph
from models.layer_rules import LAYERS
from models.load import load_model
from models.settings import refuse_unread

SERIES, IMAGE = (6, 4), (8, 6, 3)


@pytest.mark.parametrize("kind", LAYERS)
def test_an_unknown_setting_is_refused(kind):
    with pytest.raises(ModelError, match=r"unknown setting brand_new=0, which may change its result"):
        refuse_unread("layer", kind, {"brand_new": 0}, LAYERS[kind].config)


@pytest.mark.parametrize(
    ("library_name", "kind", "shape", "arguments"),
    [
        ("keras", "Resizing", IMAGE, {"height": 4, "width": 4, "pad_to_aspect_ratio": True}),
        ("keras", "Resizing", IMAGE, {"height": 4, "width": 4, "antialias": True}),
        ("keras", "BatchNormalization", IMAGE, {"renorm": True}),
        ("keras", "Masking", SERIES, {"mask_value": -1.0}),
        ("tf_keras", "LSTM", SERIES, {"units": 2, "time_major": True}),
        ("tf_keras", "GRU", SERIES, {"units": 2, "time_major": True}),
        ("tf_keras", "BatchNormalization", IMAGE, {"renorm": True}),
        ("tf_keras", "ConvLSTM1D", (3, *SERIES), {"filters": 2, "kernel_size": 2, "return_state": True}),
    ],
)
def test_a_setting_that_changes_the_result_is_refused_by_name(library_name, kind, shape, arguments, save):
    library = import_module(library_name)
    inputs = library.Input(shape)
    results = getattr(library.layers, kind)(name="odd", **arguments)(inputs)
    model = library.Model(inputs, results)
    key = list(arguments)[-1]

    with pytest.raises(ModelError, match=rf"layer 'odd' \({kind}\): {key}=.* is not supported; \w+"):
        load_model(save(model, ".h5" if library_name == "tf_keras" else ".keras"))


@pytest.mark.parametrize(
    ("kind", "shape", "arguments"),
    [
        ("Dropout", SERIES, {"rate": 0.5}),
        ("GaussianNoise", SERIES, {"stddev": 0.5}),
        ("GaussianDropout", SERIES, {"rate": 0.5}),
        ("LSTM", SERIES, {"units": 2, "dropout": 0.5}),
        ("GRU", SERIES, {"units": 2, "recurrent_dropout": 0.5}),
        ("BatchNormalization", IMAGE, {}),
        ("RandomFlip", IMAGE, {}),
    ],
)
def test_a_call_in_training_mode_is_refused_where_it_changes_the_result(kind, shape, arguments, save):
    import tf_keras

    inputs = tf_keras.Input(shape)
    results = getattr(tf_keras.layers, kind)(name="odd", **arguments)(inputs, training=True)

    with pytest.raises(ModelError, match=r"'odd' .* is called with training=True"):
        load_model(save(tf_keras.Model(inputs, results), ".h5"))


def test_a_call_in_training_mode_is_read_where_it_changes_nothing(save):
    import tf_keras

    inputs = tf_keras.Input(SERIES)
    model = tf_keras.Model(inputs, tf_keras.layers.LSTM(2)(inputs, training=True))

    assert load_model(save(model, ".h5")).output_shape == (None, 2)


@pytest.mark.parametrize(("library_name", "suffix"), [("keras", ".keras"), ("tf_keras", ".keras")])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_base_called_for_inference_is_trained_with_its_statistics_fixed(library_name, suffix, frozen, save):
    library = import_module(library_name)
    normalization = library.layers.BatchNormalization(name="norm")
    base = library.Sequential([library.Input(SERIES), normalization])
    inputs = library.Input(SERIES)
    results = base(inputs, training=False) if frozen else base(inputs)

    loaded = load_model(save(library.Model(inputs, results), suffix))

    assert loaded.get_layer("norm").trainable is not frozen


@pytest.mark.parametrize(("library_name", "suffix"), [("keras", ".keras"), ("tf_keras", ".keras")])
def test_a_normalization_called_for_inference_stays_fixed_in_training(library_name, suffix, save):
    library = import_module(library_name)
    inputs = library.Input(SERIES)
    fixed = library.layers.BatchNormalization(name="fixed")(inputs, training=False)
    results = library.layers.BatchNormalization(name="free")(library.layers.Dropout(0.1)(fixed))

    loaded = load_model(save(library.Model(inputs, results), suffix))

    assert not loaded.get_layer("fixed").trainable
    assert loaded.get_layer("free").trainable


def by_position(model, mode):
    """The configuration of ``model`` with the mode of its last layer's call as a second argument."""
    config = json.loads(model.to_json())
    node = config["config"]["layers"][-1]["inbound_nodes"][0]
    if isinstance(node, dict):
        node["kwargs"].pop("training", None)
        node["args"].append(mode)
    else:
        node.append(["_CONSTANT_VALUE", -1, mode, {}])
    return config


@pytest.mark.parametrize("library_name", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", ["BatchNormalization", "Dropout", "Sequential"])
@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_of_a_call_may_be_its_second_argument(mode, kind, library_name, legacy_keras):
    library = import_module(library_name)
    norm = library.layers.BatchNormalization(name="norm")
    layer = {
        "BatchNormalization": lambda: norm,
        "Dropout": lambda: library.layers.Dropout(0.5),
        "Sequential": lambda: library.Sequential([library.Input(SERIES), norm]),
    }[kind]()
    inputs = library.Input(SERIES)
    config = by_position(library.Model(inputs, layer(inputs)), mode)

    if mode:
        with pytest.raises(ModelError, match="is called with training=True"):
            read_graph(config, {}, is_keras3=library_name == "keras")
    else:
        graph = read_graph(config, {}, is_keras3=library_name == "keras")
        if kind == "Sequential":
            assert graph.layers["norm"].config["trainable"] is False


@pytest.mark.parametrize("kind", ["BatchNormalization", "Dropout", "Sequential"])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_mode_that_tf_keras_was_given_by_position_is_read(suffix, kind, save):
    import tf_keras

    norm = tf_keras.layers.BatchNormalization(name="norm")
    layer = {
        "BatchNormalization": lambda: norm,
        "Dropout": lambda: tf_keras.layers.Dropout(0.5),
        "Sequential": lambda: tf_keras.Sequential([tf_keras.Input(SERIES), norm]),
    }[kind]()
    inputs = tf_keras.Input(SERIES)

    loaded = load_model(save(tf_keras.Model(inputs, layer(inputs, False)), suffix))

    if kind != "Dropout":
        assert loaded.get_layer("norm").trainable is False
