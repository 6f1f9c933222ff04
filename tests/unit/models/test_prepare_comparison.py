"""A prepared model that computes something else is refused, wherever it does so."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from wrong_rewrites import drop_rectifiers

from models import prepare as prepare_module
from models.errors import ModelError
from models.prepare import prepare
from pipeline.training.tfmot import tensorflow_model_optimization

VECTOR = (6,)


@pytest.fixture
def library():
    tensorflow_model_optimization()
    return import_module("tf_keras")


@pytest.fixture
def sequential(library, randomised):
    """Build a Sequential with random weights."""

    def build(shape, *layers):
        return randomised(library.Sequential([library.Input(shape), *layers]))

    return build


@pytest.fixture
def dropping_rectifiers(monkeypatch):
    monkeypatch.setattr(prepare_module, "_PASSES", (drop_rectifiers,))


@pytest.mark.usefixtures("dropping_rectifiers")
def test_a_rewrite_that_is_equal_on_positive_inputs_only_is_refused(sequential, library):
    model = sequential(VECTOR, library.layers.ReLU(), library.layers.Flatten())

    with pytest.raises(ModelError, match=r"would change its outputs by .*, on random inputs around 0"):
        prepare(model)


@pytest.mark.usefixtures("dropping_rectifiers")
@pytest.mark.parametrize("real", [True, False])
def test_a_rewrite_that_differs_only_where_the_data_lie_is_refused(sequential, library, real):
    layers = library.layers
    model = sequential(
        VECTOR, layers.Rescaling(-1.0, offset=50.0), layers.ReLU(), layers.Flatten()
    )  # a rectifier that real values alone reach
    samples = np.full((3, *VECTOR), 255.0, np.float32)

    if real:
        with pytest.raises(ModelError, match="would change its outputs by"):
            prepare(model, [samples])
    else:
        prepare(model)


def test_inputs_that_overflow_do_not_refuse_a_good_model(sequential, library):
    layers = library.layers
    model = sequential(
        VECTOR, layers.Rescaling(60.0), layers.Activation("exponential"), layers.Dense(3), layers.ReLU(6.0)
    )

    prepared, *_ = prepare(model, [np.random.default_rng(0).random((5, *VECTOR), np.float32)])

    assert prepared.output_shape == (None, 3)


def test_real_indices_are_looked_up_as_they_are(library, randomised):
    layers = library.layers
    word, number = library.Input((None,), dtype="int32"), library.Input((4,))
    table = layers.GlobalAveragePooling1D()(layers.Embedding(5, 2)(word))
    model = randomised(library.Model([word, number], layers.Concatenate()([table, number])))
    words = np.array([[0, 4, 4], [1, 2, 3]], np.int64)

    prepared, *_ = prepare(model, [words, np.full((2, 4), -200.0, np.float32)])

    assert prepared.output_shape == (None, 6)


def test_dropout_inside_a_recurrent_layer_or_an_attention_does_not_act_in_training(library, randomised):
    layers = library.layers
    inputs = library.Input((4, 3))
    x = layers.Bidirectional(layers.LSTM(4, dropout=0.5, recurrent_dropout=0.5, return_sequences=True))(
        inputs
    )
    x = layers.MultiHeadAttention(2, 3, dropout=0.5)(x, x)
    model = randomised(library.Model(inputs, layers.GRU(2, dropout=0.5)(x)))

    prepared, *_ = prepare(model)

    given = np.random.default_rng(0).random((5, 4, 3), np.float32)
    in_training = np.asarray(prepared(given, training=True))
    np.testing.assert_allclose(in_training, model(given, training=False), atol=1e-5)
