"""Quantization-aware training: what is covered, that zeros survive it, and that it can be opened again."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from models.ports import Port
from pipeline.artifacts import KerasModel
from pipeline.layer_records import LayerRecord
from pipeline.quantize.qat import QatConfig, fake_quantized, open_qat_model, train_qat
from pipeline.training.keras_io import open_model, open_weights, save_model, save_weights, start_tensorflow
from pipeline.training_config import TrainingConfig

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
    save_model(network, folder / "keras/model")
    layers = [LayerRecord(name=each.name, kind=type(each).__name__) for each in network.layers]
    layers[1] = replace(layers[1], operations=("pruned",), weights=288, sparsity=0.5)
    model = prepared_model(
        folder,
        inputs=(Port("input", (8, 8, 2)),),
        outputs=(Port("class", (2,), activation="softmax"),),
        layers=tuple(layers),
    ).keras
    data = store_dataset(folder, SAMPLES, np.arange(64) % 2)
    (out := folder / "out").mkdir()
    config = QatConfig(training=TrainingConfig(epochs=1, min_steps=1, batch_size=16))
    return train_qat(model, model, data, config=config, seed=0, out=out), network


def test_every_layer_says_how_it_was_treated(trained):
    treatments = {layer.name: layer.treatment for layer in trained[0].layers}
    inputs = treatments.pop(trained[1].layers[0].name)

    assert inputs == "none"
    assert treatments.pop("pruned") == "pruned, quantization-aware"
    assert set(treatments.values()) == {"quantization-aware"}
    assert all(not layer.reason for layer in trained[0].layers)


def test_pruned_zeros_survive_the_training_and_the_rest_learns(trained):
    found, network = trained
    before = network.get_layer("pruned").kernel.numpy()
    wrapper = next(
        layer for layer in open_qat_model(found).layers if getattr(layer, "layer", layer).name == "pruned"
    )
    kernel = next(weight for weight in wrapper.weights if weight.name.endswith("kernel:0")).numpy()

    np.testing.assert_array_equal(kernel[before == 0], 0)
    assert not np.array_equal(kernel, before)
    assert found.zero_weights == 144


def test_it_opens_again_with_the_same_weights_and_outputs(trained, tmp_path):
    model = open_qat_model(trained[0])
    save_weights(model, tmp_path / "weights.npz")
    again = open_qat_model(trained[0])
    open_weights(again, tmp_path / "weights.npz")

    assert (tmp_path / "weights.npz").read_bytes() == trained[0].weights.read_bytes()
    np.testing.assert_array_equal(again.predict_on_batch(SAMPLES), model.predict_on_batch(SAMPLES))


def test_activation_ranges_are_near_what_the_activations_are(trained):
    """TF-MOT's own start is -6..6, of which these activations would use a fraction."""
    model = open_qat_model(trained[0])
    pool = next(layer for layer in model.layers if getattr(layer, "layer", layer).name == "depthwise")
    limits = {
        weight.name.rpartition("_")[2]: float(weight.numpy())
        for weight in pool.weights
        if "post_activation" in weight.name
    }

    assert limits["min:0"] == pytest.approx(0, abs=0.05)
    assert 0 < limits["max:0"] < 5


def test_a_depthwise_layer_with_levels_before_a_normalization_keeps_its_weights():
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2))
    x = layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    network = tf_keras.Model(inputs, layers.GlobalAveragePooling2D()(x))

    student = fake_quantized(network, with_levels=("depthwise",))
    student.predict_on_batch(SAMPLES)  # leaves what it computed with in the layer
    wrapper = next(layer for layer in student.layers if "depthwise" in layer.name)
    kernel = wrapper.get_weights()[[weight.shape.rank for weight in wrapper.weights].index(4)]

    np.testing.assert_array_equal(kernel, network.get_layer("depthwise").get_weights()[0])
    assert all(quantizer(kernel, True, {}) is kernel for _, quantizer, _ in wrapper._weight_vars)


def test_training_starts_from_equal_channels_where_they_differ_by_far(trained, tmp_path, store_dataset):
    network = open_model(trained[0].model)
    scales = np.exp2(np.linspace(-6, 6, 16)).astype(np.float32)
    norm, depthwise = network.get_layer("norm"), network.get_layer("depthwise")
    for variable in (norm.gamma, norm.beta):
        variable.assign(variable * scales)
    depthwise.depthwise_kernel.assign(depthwise.depthwise_kernel / scales[:, None])
    save_model(network, tmp_path / "spread/model")
    facts = {field.name: getattr(trained[0], field.name) for field in fields(KerasModel)}
    model = KerasModel(**facts | {"folder": tmp_path / "spread", "trainings": ()})
    data = store_dataset(tmp_path, SAMPLES, np.arange(64) % 2)
    (out := tmp_path / "out").mkdir()
    config = QatConfig(training=TrainingConfig(epochs=1, min_steps=1, batch_size=32))

    found = train_qat(model, model, data, config=config, seed=0, out=out)

    assert "equalized before training" in found.findings[0]
    assert trained[0].findings == ()
    gamma = next(weight for weight in open_qat_model(found).weights if "norm/gamma" in weight.name).numpy()
    alive = gamma[1::2]  # the pruned kernel has no weights in the others
    assert alive.max() / alive.min() < 100
    assert found.zero_weights == 144
