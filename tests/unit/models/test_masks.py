"""A mask that no layer looks at is dropped; one that changes a result is refused by name."""

from __future__ import annotations

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
