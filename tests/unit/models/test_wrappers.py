"""A model that TF-MOT's wrappers are still in is read as the layers inside, with their weights."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import ModelError
from models.load import load_model
from pipeline.training.tfmot import tensorflow_model_optimization

IMAGE = (8, 8, 1)


def small():
    import tf_keras

    layers = tf_keras.layers
    parts = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten()]
    return tf_keras.Sequential([tf_keras.Input(IMAGE), *parts, layers.Dense(4, activation="softmax")])


def wrapped(how, model):
    tfmot = tensorflow_model_optimization()
    if how == "pruned":
        return tfmot.sparsity.keras.prune_low_magnitude(model)
    if how == "clustered":
        start = tfmot.clustering.keras.CentroidInitialization.LINEAR
        return tfmot.clustering.keras.cluster_weights(model, 4, start)
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    return annotated if how == "annotated" else tfmot.quantization.keras.quantize_apply(annotated)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("how", ["pruned", "annotated", "quantized"])
def test_the_layers_inside_are_read_with_their_weights(how, suffix, randomised, save, outputs, rng):
    model = randomised(small())
    x = rng.normal(size=(3, *IMAGE)).astype(np.float32)
    expected = outputs(model, x)[0]

    loaded = load_model(save(wrapped(how, model), suffix))

    np.testing.assert_allclose(outputs(loaded, x)[0], expected, rtol=0, atol=1e-5)


def test_a_clustered_model_is_refused_with_the_call_that_strips_it(save):
    path = save(wrapped("clustered", small()), ".h5")

    with pytest.raises(ModelError, match=r"save what tfmot\.clustering\.keras\.strip_clustering\(model\)"):
        load_model(path)
