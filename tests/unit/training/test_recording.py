"""What a training leaves on record: figures and ranges by epoch, histograms before and after."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.quantize.qat import fake_quantized
from pipeline.training.fine_tuning import fine_tune
from pipeline.training.keras_io import save_model, start_tensorflow
from pipeline.training.recording import BINS, OBSERVED_SAMPLES
from pipeline.training_config import TrainingConfig


@pytest.fixture(scope="module")
def history(tmp_path_factory, store_dataset, prepared_model):
    """The record of a small network's quantization-aware training."""
    start_tensorflow(0)
    import tf_keras

    layers, folder = tf_keras.layers, tmp_path_factory.mktemp("history")
    network = tf_keras.Sequential(
        [layers.Input((5,)), layers.Dense(8, "relu", name="hidden"), layers.Dense(3, "softmax", name="class")]
    )
    labels = np.arange(400) % 3
    inputs = np.random.default_rng(0).normal(size=(400, 5)) + labels[:, None]
    data = store_dataset(folder / "data", inputs.astype(np.float32), labels)
    save_model(network, folder / "keras/model")
    config = TrainingConfig(epochs=3, min_steps=1, batch_size=36, learning_rate=0.05, distillation=0.0)
    return fine_tune("train", fake_quantized(network), prepared_model(folder).keras, data, config, 0)


def test_the_figures_of_every_epoch_are_on_record(history):
    assert [curve.name for curve in history.curves] == ["loss", "held-out accuracy", "held-out macro F1"]
    assert {len(curve.values) for curve in history.curves} == {3}
    assert history.curves[0].values[2] < history.curves[0].values[0]


def test_the_trained_ranges_of_every_epoch_are_on_record(history):
    ranges = {found.layer: found for found in history.ranges}

    assert {"hidden", "class"} <= set(ranges)
    assert len(ranges["hidden"].lows) == len(ranges["hidden"].highs) == 3
    assert all(high > 0 for high in ranges["hidden"].highs)


def test_histograms_count_every_weight_and_the_outputs_of_some_samples(history):
    for found in (history.before, history.after):
        counted = {(each.layer, each.of): sum(each.counts) for each in found}
        assert counted["hidden", "weights"] == 5 * 8
        assert counted["class", "activations"] == 3 * OBSERVED_SAMPLES
        assert {len(each.counts) for each in found} == {BINS}
    assert history.before != history.after
