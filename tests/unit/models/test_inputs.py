"""Scalings of the input, taken out of a model or put into its first layers: the same function throughout."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from models.graph import build_model
from models.prepare import graph_of
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


def test_an_image_and_a_branch_keep_theirs(library, sequential, randomised):
    layers = library.layers
    image = sequential((4, 4, 3), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(2))
    inputs = library.Input((3,), name="x")
    branch = library.Model(inputs, layers.Concatenate()([layers.Rescaling(2.0)(inputs), inputs]))

    assert lift_normalization(graph_of(image))[1] == {}
    assert lift_normalization(graph_of(branch))[1] == {}


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
