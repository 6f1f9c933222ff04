"""The course of fine-tuning: warm-up, early stop, frozen batch normalizations, the best epoch's weights."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pipeline.events import Finding, Metric
from pipeline.tasks.scoring import Gain
from pipeline.training import fine_tuning
from pipeline.training.fine_tuning import fine_tune
from pipeline.training.held_out import HeldOut
from pipeline.training.keras_io import save_model, start_tensorflow
from pipeline.training_config import TrainingConfig

CONFIG = {"epochs": 4, "min_steps": 1, "batch_size": 36, "learning_rate": 0.05, "distillation": 0.0}


@pytest.fixture
def course(tmp_path, store_dataset, prepared_model, monkeypatch):
    """Fine-tune a small network; records what each epoch and each step left behind."""
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((5,))
    norm = layers.BatchNormalization(momentum=0.5, name="norm")(layers.Dense(8)(inputs))
    network = tf_keras.Model(inputs, layers.Dense(3, "softmax")(norm))
    labels = np.arange(400) % 3
    values = np.random.default_rng(0).normal(size=(400, 5)) + labels[:, None]
    data = store_dataset(tmp_path / "data", values.astype(np.float32), labels)
    save_model(network, tmp_path / "keras/model")
    model = prepared_model(tmp_path).keras
    events = []
    monkeypatch.setattr(fine_tuning, "emit", events.append)

    class Recorder(tf_keras.callbacks.Callback):
        epochs, steps = [], []

        def on_train_batch_end(self, batch, logs=None):
            self.steps.append(network.layers[1].get_weights()[0])

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append((network.get_layer("norm").get_weights(), network.get_weights()))

    def run(scores=None, **config):
        if scores is not None:
            left = list(scores)
            monkeypatch.setattr(HeldOut, "score", lambda self, outputs: left.pop(0))
        recorder = Recorder()
        fine_tune("train", network, model, data, TrainingConfig(**CONFIG | config), 0, (recorder,))
        return network, recorder, events

    return run


def test_each_epoch_reports_its_loss_and_its_score_on_held_out_samples(course):
    _, _, events = course()
    figures = [each for each in events if isinstance(each, Metric)]

    assert [(each.name, each.epoch) for each in figures] == [
        (name, epoch) for epoch in range(1, 5) for name in ("loss", "held-out accuracy", "held-out macro F1")
    ]
    assert figures[-1].value > 60


def test_the_learning_rate_rises_from_zero_during_the_warm_up(course):
    _, recorder, _ = course(warm_up=0.5)
    moved = [np.abs(after - before).max() for before, after in pairwise(recorder.steps)]

    assert moved[0] < moved[8] > moved[-1]


def test_batch_normalizations_are_frozen_for_the_last_epochs(course):
    _, recorder, _ = course(frozen_norms=0.5)
    norms = [norm for norm, _ in recorder.epochs]

    for first, second in zip(norms[0], norms[1], strict=True):
        assert not np.array_equal(first, second)
    for second, last in zip(norms[1], norms[3], strict=True):
        np.testing.assert_array_equal(second, last)
    assert not np.array_equal(recorder.epochs[1][1][0], recorder.epochs[3][1][0])


def test_training_stops_when_patience_is_over(course):
    _, recorder, _ = course(scores=[50, 60, 55, 55], patience=2, epochs=9)

    assert len(recorder.epochs) == 4


def test_an_earlier_epoch_is_taken_only_if_it_is_measurably_better(course, monkeypatch):
    monkeypatch.setattr(HeldOut, "gain", lambda self, last, best: Gain(5.0, 2.0, 8.0))
    network, recorder, events = course(scores=[50, 60, 55, 55])

    for taken, second in zip(network.get_weights(), recorder.epochs[1][1], strict=True):
        np.testing.assert_array_equal(taken, second)
    [finding] = [each for each in events if isinstance(each, Finding)]
    assert finding.text.startswith("train: the weights of epoch 2 are taken, +5.00 points")

    monkeypatch.setattr(HeldOut, "gain", lambda self, last, best: Gain(5.0, -1.0, 8.0))
    network, recorder, _ = course(scores=[50, 60, 55, 55])
    for kept, last in zip(network.get_weights(), recorder.epochs[-1][1], strict=True):
        np.testing.assert_array_equal(kept, last)
