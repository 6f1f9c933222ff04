"""A mask that no layer looks at is dropped; one that changes a result is refused by name."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from models.errors import ModelError
from models.load import load_model

LOOKING = ["LSTM", "GlobalAveragePooling1D", "Bidirectional"]


def masked(source, kind):
    import keras

    layers = keras.layers
    if source == "Embedding":
        inputs = keras.Input((6,), dtype="int32")
        x = layers.Embedding(9, 4, mask_zero=True, name="words")(inputs)
    else:
        inputs = keras.Input((6, 4))
        x = layers.Masking(name="words")(inputs)
    x = layers.Dropout(0.1)(x)
    if kind == "Bidirectional":
        x = layers.Bidirectional(layers.LSTM(3), name="looking")(x)
    elif kind == "LSTM":
        x = layers.LSTM(3, name="looking")(x)
    else:
        x = getattr(layers, kind)(name="looking")(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("source", ["Embedding", "Masking"])
@pytest.mark.parametrize("kind", LOOKING)
def test_a_mask_that_a_layer_looks_at_is_refused(kind, source, save):
    with pytest.raises(ModelError, match=rf"'looking' \({kind}\) skips the steps that 'words' masks"):
        load_model(save(masked(source, kind), ".keras"))


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking")
@pytest.mark.parametrize("source", ["Embedding", "Masking"])
@pytest.mark.parametrize("kind", ["Flatten", "GlobalMaxPooling1D"])
def test_a_mask_that_no_layer_looks_at_is_dropped(kind, source, save, outputs):
    model = masked(source, kind)

    loaded = load_model(save(model, ".keras"))

    x = np.array([[1, 2, 0, 3, 0, 0]]) if source == "Embedding" else np.tile([[[1.0], [0.0]]], (1, 3, 4))
    x = x.astype(np.int32 if source == "Embedding" else np.float32)
    np.testing.assert_allclose(outputs(loaded, x)[0], outputs(model, x)[0], atol=1e-6)


def test_a_mask_of_another_value_is_refused(save):
    import keras

    model = keras.Sequential([keras.Input((6, 4)), keras.layers.Masking(-1.0, name="gaps")])

    with pytest.raises(ModelError, match=r"'gaps' \(Masking\): mask_value=-1\.0"):
        load_model(save(model, ".keras"))


@pytest.mark.parametrize("kind", ["Rescaling", "Normalization"])
def test_a_mask_passes_through_a_scaling(kind, save):
    import keras

    layers = keras.layers
    scaling = layers.Rescaling(2.0) if kind == "Rescaling" else layers.Normalization(mean=0.5, variance=2.0)
    model = keras.Sequential(
        [keras.Input((6, 4)), layers.Masking(name="words"), scaling, layers.LSTM(3, name="looking")]
    )

    with pytest.raises(ModelError, match=r"'looking' \(LSTM\) skips the steps that 'words' masks"):
        load_model(save(model, ".keras"))


def on_masks(library, kind, how):
    """An attention layer that is called on masks as well, by position or by name."""
    layer = getattr(library.layers, kind)(*((2, 3) if kind == "MultiHeadAttention" else ()), name="looking")
    query, value, key = (library.Input((6, 4)) for _ in range(3))
    if kind == "MultiHeadAttention":
        mask = library.Input((6, 6))
        calls = {
            "by position": lambda: layer(query, value, key, mask),
            "by position without a key": lambda: layer(query, value, None, mask),
            "by name": lambda: layer(query, value, key=key, attention_mask=mask),
        }
        return library.Model([query, value, key, mask], calls[how]())
    masks = [library.Input((6,), dtype="bool") for _ in range(2)]
    calls = {
        "by position": lambda: layer([query, value], masks),
        "by position without a key": lambda: layer([query, value], [None, masks[1]]),
        "by name": lambda: layer([query, value], mask=masks),
    }
    return library.Model([query, value, *masks], calls[how]())


@pytest.mark.parametrize("library_name", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", ["Attention", "AdditiveAttention", "MultiHeadAttention"])
@pytest.mark.parametrize("how", ["by position", "by position without a key", "by name"])
def test_a_mask_that_attention_is_called_on_is_refused(how, kind, library_name, save):
    model = on_masks(import_module(library_name), kind, how)

    with pytest.raises(ModelError, match=r"layer 'looking'.*[ _]mask"):
        load_model(save(model, ".keras"))


@pytest.mark.parametrize("library_name", ["keras", "tf_keras"])
def test_a_key_by_position_is_no_mask(library_name, randomised, save, outputs, rng):
    library = import_module(library_name)
    query, value, key = (library.Input((6, 4)) for _ in range(3))
    results = library.layers.MultiHeadAttention(2, 3)(query, value, key)
    model = randomised(library.Model([query, value, key], results))
    x = [rng.normal(size=(2, 6, 4)).astype(np.float32) for _ in range(3)]

    loaded = load_model(save(model, ".keras"))

    np.testing.assert_allclose(outputs(loaded, x)[0], outputs(model, x)[0], atol=1e-5)


def test_a_mask_for_the_layer_inside_a_wrapper_is_refused(save, legacy_keras):
    import tf_keras

    inputs, mask = tf_keras.Input((5, 6, 4)), tf_keras.Input((5, 6), dtype="bool")
    wrapped = tf_keras.layers.TimeDistributed(tf_keras.layers.LSTM(2), name="looking")
    model = tf_keras.Model([inputs, mask], wrapped(inputs, mask=mask))

    with pytest.raises(ModelError, match=r"'looking' \(LSTM\) skips the steps that 'a mask' masks"):
        load_model(save(model, ".keras"))
