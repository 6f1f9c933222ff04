"""Quantization-aware training: what is covered, that zeros survive it, and that it can be opened again."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.artifacts import CompressedModel
from pipeline.config import QuantizeConfig
from pipeline.quantize.aware import open_aware_model, train_quantization_aware
from pipeline.training.keras_io import open_weights, save_model, save_weights, start_tensorflow

SAMPLES = np.random.default_rng(0).normal(size=(64, 8, 8, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, store_dataset, prepared_model):
    """A network whose largest kernel is half zeros, trained for a few steps with fake quantization."""
    start_tensorflow(0)
    import tf_keras

    layers, folder = tf_keras.layers, tmp_path_factory.mktemp("aware")
    inputs = layers.Input((8, 8, 2))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="pruned")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x))
    kernel = network.get_layer("pruned").kernel
    kernel.assign(np.where(np.arange(kernel.shape.num_elements()).reshape(kernel.shape) % 2, kernel, 0))
    for name in ("prepared", "model"):
        save_model(network, folder / name)
    model = prepared_model(
        folder,
        inputs=(Port("input", (8, 8, 2)),),
        outputs=(Port("class", (2,), activation="softmax"),),
    )
    data = store_dataset(folder, SAMPLES, np.arange(64) % 2)
    compressed = CompressedModel(folder=folder, pruned_layers=("pruned",), zero_weights=144)
    (out := folder / "out").mkdir()
    config = QuantizeConfig(epochs=1, least_steps=1, batch_size=16)
    aware = train_quantization_aware(compressed, model, data, config=config, seed=0, out=out)
    return aware, network


def test_every_layer_says_how_it_was_treated(trained):
    treatments = {layer.name: layer.treatment for layer in trained[0].layers}
    inputs = treatments.pop(trained[1].layers[0].name)

    assert inputs == "none"
    assert treatments.pop("pruned") == "pruned, quantization-aware"
    assert set(treatments.values()) == {"quantization-aware"}
    assert all(not layer.reason for layer in trained[0].layers)


def test_pruned_zeros_survive_the_training_and_the_rest_learns(trained):
    aware, network = trained
    before = network.get_layer("pruned").kernel.numpy()
    wrapper = next(
        layer for layer in open_aware_model(aware).layers if getattr(layer, "layer", layer).name == "pruned"
    )
    kernel = next(weight for weight in wrapper.weights if weight.name.endswith("kernel:0")).numpy()

    np.testing.assert_array_equal(kernel[before == 0], 0)
    assert not np.array_equal(kernel, before)
    assert aware.zero_weights == 144


def test_it_opens_again_with_the_same_weights_and_outputs(trained, tmp_path):
    model = open_aware_model(trained[0])
    save_weights(model, tmp_path / "weights.npz")
    again = open_aware_model(trained[0])
    open_weights(again, tmp_path / "weights.npz")

    assert (tmp_path / "weights.npz").read_bytes() == trained[0].weights.read_bytes()
    np.testing.assert_array_equal(again.predict_on_batch(SAMPLES), model.predict_on_batch(SAMPLES))


def test_activation_ranges_are_near_what_the_activations_are(trained):
    """TF-MOT's own start is -6..6, of which these activations would use a fraction."""
    model = open_aware_model(trained[0])
    pool = next(layer for layer in model.layers if getattr(layer, "layer", layer).name == "depthwise")
    limits = {
        weight.name.rpartition("_")[2]: float(weight.numpy())
        for weight in pool.weights
        if "post_activation" in weight.name
    }

    assert limits["min:0"] == pytest.approx(0, abs=0.05)
    assert 0 < limits["max:0"] < 5
