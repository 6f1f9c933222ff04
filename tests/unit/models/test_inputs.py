"""Scalings taken out of a model, or put into the layers that read its inputs, change no output."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from models.graph import build_model
from models.prepare import graph_of, prepare
from models.rewrites.inputs import fold_inputs, lift_normalization
from pipeline.tfmot import tensorflow

SERIES, VECTOR = (10, 3), (6,)


@pytest.fixture
def library():
    tensorflow()
    return import_module("tf_keras")


@pytest.fixture
def sequential(library, randomised):
    """Build a Sequential with random weights."""

    def build(shape, *layers):
        return randomised(library.Sequential([library.Input(shape, name="given"), *layers]))

    return build


def assert_equal(first, second):
    difference = np.abs(np.asarray(first) - np.asarray(second)).max()
    assert difference <= 1e-5 * max(1.0, np.abs(first).max())


def check_folded(model, shape):
    """Fold a scaling of each channel into the model, which has then to compute the same on scaled inputs."""
    rng = np.random.default_rng(0)
    scale, offset = rng.uniform(0.1, 5, shape[-1]), rng.normal(size=shape[-1])
    x = rng.normal(size=(8, *shape))
    folded = fold_inputs(graph_of(model), {"given": (scale, offset)})
    assert folded is not None
    z = (x * scale + offset).astype(np.float32)
    assert_equal(model(x.astype(np.float32)), build_model(folded)(z))


@pytest.mark.parametrize("shape", [SERIES, VECTOR])
def test_a_normalization_of_a_vector_or_series_is_lifted(sequential, library, shape):
    layers, channels = library.layers, shape[-1]
    spread = np.geomspace(1e-4, 1e4, channels)
    norm = layers.Normalization(mean=spread.tolist(), variance=(spread**2).tolist())
    model = sequential(shape, norm, layers.Rescaling(0.5, 1.0), layers.Flatten(), layers.Dense(4))

    graph, lifted, rewrites = lift_normalization(graph_of(model))

    scale, offset = lifted["given"]
    assert scale.shape == offset.shape == (channels,)
    assert len(rewrites) == 2
    x = np.random.default_rng(0).normal(size=(8, *shape)) * spread
    z = (x * scale + offset).astype(np.float32)
    assert_equal(model(x.astype(np.float32)), build_model(graph)(z))


def test_a_normalization_that_is_not_the_only_reader_stays(library, randomised):
    layers, inputs = library.layers, library.Input(VECTOR)
    both = layers.Concatenate()([layers.BatchNormalization()(inputs), inputs])
    model = randomised(library.Model(inputs, layers.Dense(2)(both)))

    _, lifted, rewrites = lift_normalization(graph_of(model))

    assert lifted == {}
    assert rewrites == []


def test_an_images_normalization_stays(sequential, library):
    model = sequential((8, 8, 3), library.layers.Rescaling(1 / 255), library.layers.Conv2D(2, 3))

    assert lift_normalization(graph_of(model))[1] == {}


def test_a_scaling_goes_into_dense_layers(sequential, library):
    layers = library.layers
    check_folded(sequential(VECTOR, layers.Dense(4, use_bias=False)), VECTOR)
    check_folded(sequential(SERIES, layers.Flatten(), layers.Dense(4)), SERIES)
    check_folded(sequential(SERIES, layers.Permute((2, 1)), layers.Flatten(), layers.Dense(4)), SERIES)


@pytest.mark.parametrize("strides", [1, 2])
def test_a_scaling_goes_into_convolutions_without_padding(sequential, library, strides):
    conv = library.layers.Conv1D(4, 3, strides=strides)
    check_folded(sequential(SERIES, conv), SERIES)
    check_folded(prepare(sequential(SERIES, library.layers.Conv1D(4, 3)))[0], SERIES)
    check_folded(sequential((8, 8, 4), library.layers.Conv2D(4, 3, groups=2)), (8, 8, 4))
    check_folded(sequential((8, 8, 4), library.layers.DepthwiseConv2D(3, depth_multiplier=2)), (8, 8, 4))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_scaling_goes_into_recurrent_layers(sequential, library, kind, use_bias):
    layers = library.layers
    make = getattr(layers, kind)
    check_folded(sequential(SERIES, make(4, use_bias=use_bias)), SERIES)
    check_folded(sequential(SERIES, layers.Bidirectional(make(4, use_bias=use_bias))), SERIES)


def test_a_scaling_goes_through_a_concatenation(library, randomised):
    layers = library.layers
    given, other = library.Input(VECTOR, name="given"), library.Input((2,))
    model = randomised(library.Model([other, given], layers.Dense(3)(layers.Concatenate()([other, given]))))
    scale, offset = np.linspace(0.5, 2, 6), np.linspace(-1, 1, 6)
    x, y = np.ones((4, 6)), np.ones((4, 2), np.float32)

    folded = fold_inputs(graph_of(model), {"given": (scale, offset)})

    assert folded is not None
    z = (x * scale + offset).astype(np.float32)
    assert_equal(model([y, x.astype(np.float32)]), build_model(folded)([y, z]))


def test_a_padding_convolution_takes_a_scale_and_no_offset(sequential, library):
    model = sequential(SERIES, library.layers.Conv1D(4, 3, padding="same"))
    x = np.random.default_rng(0).normal(size=(8, *SERIES))

    assert fold_inputs(graph_of(model), {"given": (2.0, 1.0)}) is None
    folded = fold_inputs(graph_of(model), {"given": (2.0, 0.0)})

    assert folded is not None
    assert_equal(model(x.astype(np.float32)), build_model(folded)((2 * x).astype(np.float32)))


def test_what_is_not_exact_is_refused(library, randomised):
    layers, given = library.layers, library.Input(VECTOR, name="given")
    dense = layers.Dense(6)
    shared = randomised(library.Model(given, dense(dense(given))))
    beside = randomised(library.Model(given, layers.Add()([layers.Dense(6)(given), given])))
    itself = randomised(library.Model(given, [layers.Dense(6)(given), given]))

    for model in (shared, beside, itself):
        assert fold_inputs(graph_of(model), {"given": (2.0, 1.0)}) is None
    assert fold_inputs(graph_of(shared), {"unknown": (2.0, 1.0)}) is None
    assert fold_inputs(graph_of(shared), {"given": (0.0, 1.0)}) is None
