"""Scalings of the input, taken out of a model or put into its first layers: the same function throughout."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from models.graph import build_model
from models.prepare import graph_of, prepare
from models.rewrites.inputs import fold_inputs, lift_normalization
from pipeline.training.tfmot import tensorflow

SCALE, OFFSET = np.array([0.01, 5.0, 300.0]), np.array([4.0, 0.0, -1000.0])


@pytest.fixture
def library():
    tensorflow()
    return import_module("tf_keras")


@pytest.fixture
def sequential(library, randomised):
    def build(shape, *layers):
        return randomised(library.Sequential([library.Input(shape, name="x"), *layers]))

    return build


def answers(model, inputs):
    return np.asarray(model(inputs.astype(np.float32), training=False))


def assert_equal(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))


def test_a_normalization_of_a_vector_becomes_its_preprocessing(library, sequential):
    layers = library.layers
    norm = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 9.0, 16.0])
    model = sequential((3,), norm, layers.Rescaling(2.0, 1.0), layers.Dense(4))
    x = np.random.default_rng(0).normal(size=(9, 3))

    graph, lifted, rewrites = lift_normalization(graph_of(model))
    scale, offset = lifted["x"]

    assert [type(layer).__name__ for layer in build_model(graph).layers] == ["InputLayer", "Dense"]
    assert_equal(answers(build_model(graph), x * scale + offset), answers(model, x))
    assert len(rewrites) == 2


def submodel(layers):
    return import_module("tf_keras").Sequential([layers.Rescaling(1 / 127.5, -1.0)], name="inner")


LIFTED = {
    "to 0..1": (1, lambda layers: [layers.Rescaling(1 / 255)]),
    "to -1..1": (1, lambda layers: [layers.Rescaling(1 / 127.5, -1.0)]),
    "one mean": (1, lambda layers: [layers.Normalization(axis=None, mean=127.0, variance=5000.0)]),
    "a mean for each channel": (
        3,
        lambda layers: [
            layers.Rescaling(1 / 255),
            layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.04, 0.05, 0.06]),
        ],
    ),
    "a submodel": (1, lambda layers: [submodel(layers)]),
    "before padding": (1, lambda layers: [layers.Rescaling(1 / 127.5, -1.0), layers.ZeroPadding2D()]),
    "after padding": (1, lambda layers: [layers.ZeroPadding2D(), layers.Rescaling(1 / 255)]),
    "after resizing": (
        3,
        lambda layers: [
            layers.Resizing(6, 6),
            layers.Normalization(mean=[100.0, 110.0, 120.0], variance=[4000.0, 5000.0, 6000.0]),
        ],
    ),
    "after noise": (1, lambda layers: [layers.GaussianNoise(0.1), layers.Rescaling(1 / 255)]),
    "after moving": (1, lambda layers: [layers.Permute((2, 1, 3)), layers.Rescaling(1 / 127.5, -1.0)]),
}


@pytest.mark.parametrize(("numbers", "front"), LIFTED.values(), ids=LIFTED)
def test_the_scaling_of_an_image_becomes_its_preprocessing(numbers, front, library, sequential):
    layers = library.layers
    after = [layers.Conv2D(4, 3, padding="same", activation="relu"), layers.Flatten(), layers.Dense(3)]
    model = sequential((8, 8, 3), *front(layers), *after)
    x = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3))

    graph, lifted, _ = lift_normalization(graph_of(model))
    scale, offset = lifted["x"]

    kinds = {type(layer).__name__ for layer in build_model(graph).layers}
    assert not kinds & {"Rescaling", "Normalization"}
    assert scale.shape == offset.shape == (numbers,)
    assert_equal(answers(build_model(graph), x * scale + offset), answers(model, x))


@pytest.mark.parametrize("kind", ["Dense", "DepthwiseConv2D", "Conv1D", "branches", "float16"])
def test_whatever_reads_a_scaled_input_may_read_it_scaled(kind, library, randomised):
    layers, shape = library.layers, (8, 3) if kind == "Conv1D" else (8, 8, 3)
    given = library.Input(shape, name="x", dtype="float16" if kind == "float16" else "float32")
    scaled = layers.Rescaling(1 / 127.5, -1.0)(given)
    found = {
        "Dense": lambda: layers.Dense(3)(layers.Flatten()(scaled)),
        "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(3, padding="same")(scaled),
        "Conv1D": lambda: layers.Conv1D(4, 3, padding="same")(scaled),
        "branches": lambda: layers.Add()([layers.Conv2D(3, 3, padding="same")(scaled), scaled]),
        "float16": lambda: layers.Conv2D(3, 3, padding="same")(scaled),
    }[kind]()
    model = randomised(library.Model(given, found))
    x = np.random.default_rng(0).integers(0, 256, (9, *shape))

    graph, lifted, _ = lift_normalization(graph_of(model))
    network = prepare(build_model(graph)).model

    assert "BatchNormalization" not in {type(layer).__name__ for layer in network.layers}
    scale, offset = lifted["x"]
    assert_equal(answers(network, x * scale + offset), answers(model, x))


def test_a_scaling_that_an_input_cannot_do_stays(library, sequential):
    layers = library.layers
    padded = sequential(
        (8, 8, 3), layers.ZeroPadding2D(), layers.Rescaling(1 / 127.5, -1.0), layers.Flatten()
    )
    moved = layers.Permute((3, 1, 2)), layers.Normalization(mean=list(range(8)), variance=[1.0] * 8)
    inputs = library.Input((3,), name="x")
    branch = library.Model(inputs, layers.Concatenate()([layers.Rescaling(2.0)(inputs), inputs]))

    for model in (padded, sequential((8, 8, 3), *moved), branch):
        assert lift_normalization(graph_of(model))[1] == {}


@pytest.mark.parametrize(
    ("shape", "make"),
    [
        ((3,), lambda layers: [layers.Dense(4), layers.ReLU(), layers.Dense(2)]),
        ((8, 3), lambda layers: [layers.Conv1D(4, 3), layers.GlobalAveragePooling1D()]),
        ((8, 3), lambda layers: [layers.Flatten(), layers.Dense(4, use_bias=False)]),
        ((8, 3), lambda layers: [layers.LSTM(4)]),
        ((8, 3), lambda layers: [layers.GRU(4)]),
        ((8, 3), lambda layers: [layers.Bidirectional(layers.GRU(4, use_bias=False))]),
    ],
)
def test_a_scaling_is_undone_by_the_weights_that_read_it(shape, make, library, sequential):
    model = sequential(shape, *make(library.layers))
    z = np.random.default_rng(0).normal(size=(9, *shape))
    x = z * SCALE + OFFSET

    folded = fold_inputs(graph_of(model), {"x": (1 / SCALE, -OFFSET / SCALE)})

    assert folded is not None
    assert_equal(answers(build_model(folded), z), answers(model, x))


def test_an_offset_before_padding_is_refused(library, sequential):
    layers = library.layers
    padded = sequential((8, 3), layers.Conv1D(4, 3, padding="same"), layers.Flatten())
    pooled = sequential((8, 3), layers.MaxPooling1D(2), layers.Conv1D(4, 3))

    assert fold_inputs(graph_of(padded), {"x": (SCALE, OFFSET)}) is None
    assert fold_inputs(graph_of(padded), {"x": (SCALE, 0 * OFFSET)}) is not None
    assert fold_inputs(graph_of(pooled), {"x": (SCALE, OFFSET)}) is None


@pytest.mark.parametrize(
    ("shape", "make"),
    [
        ((8, 3), lambda layers: [layers.Permute((2, 1)), layers.Flatten(), layers.Dense(4)]),
        ((8, 3), lambda layers: [layers.Bidirectional(layers.SimpleRNN(4))]),
        ((8, 8, 3), lambda layers: [layers.Conv2D(6, 3, groups=3)]),
        ((8, 8, 3), lambda layers: [layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2)]),
    ],
)
def test_a_scaling_is_undone_behind_moved_elements_and_in_groups(shape, make, library, sequential):
    test_a_scaling_is_undone_by_the_weights_that_read_it(shape, make, library, sequential)


def test_a_scaling_is_undone_behind_a_concatenation(library, randomised):
    layers = library.layers
    given, other = library.Input((3,), name="x"), library.Input((2,))
    model = randomised(library.Model([other, given], layers.Dense(3)(layers.Concatenate()([other, given]))))
    z, beside = np.random.default_rng(0).normal(size=(9, 3)), np.ones((9, 2), np.float32)

    folded = fold_inputs(graph_of(model), {"x": (1 / SCALE, -OFFSET / SCALE)})

    assert folded is not None
    expected = model([beside, (z * SCALE + OFFSET).astype(np.float32)])
    assert_equal(np.asarray(build_model(folded)([beside, z.astype(np.float32)])), np.asarray(expected))


def test_an_input_that_is_not_read_by_weights_alone_is_refused(library, randomised):
    layers, given = library.layers, library.Input((3,), name="x")
    dense = layers.Dense(3)
    shared = randomised(library.Model(given, dense(dense(given))))
    beside = randomised(library.Model(given, layers.Add()([layers.Dense(3)(given), given])))
    itself = randomised(library.Model(given, [layers.Dense(3)(given), given]))

    for model in (shared, beside, itself):
        assert fold_inputs(graph_of(model), {"x": (2.0, 1.0)}) is None
    assert fold_inputs(graph_of(shared), {"unknown": (2.0, 1.0)}) is None
    assert fold_inputs(graph_of(shared), {"x": (0.0, 1.0)}) is None
