"""What a comparison of two models on held-out samples says."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.training.held_out import HeldOut


@pytest.fixture
def of(tmp_path, store_dataset, prepared_model):
    """Return a data set of so many samples in three classes, and a model of it."""

    def make(count):
        inputs = np.zeros((count, 5), np.float32)
        return store_dataset(tmp_path / "data", inputs, np.arange(count) % 3), prepared_model(tmp_path)

    return make


def answers(labels, wrong):
    """Return outputs that are right for all but the first ``wrong`` samples."""
    named = np.where(np.arange(len(labels)) < wrong, (labels + 1) % 3, labels)
    return np.eye(3, dtype=np.float32)[named]


def test_a_gain_is_shown_only_if_its_interval_is_above_zero(of):
    held_out = HeldOut.of(*of(2000))
    labels = held_out.samples.target(0)

    clear = held_out.gain(answers(labels, 40), answers(labels, 10))
    unclear = held_out.gain(answers(labels, 12), answers(labels, 10))

    assert clear.points == pytest.approx(15)
    assert clear.low < 15 < clear.high
    assert clear.is_shown
    assert not unclear.is_shown
    assert not held_out.gain(answers(labels, 10), answers(labels, 10)).is_shown
    assert held_out.gain(answers(labels, 10), answers(labels, 40)).high < 0


def test_the_score_is_in_points_and_named(of):
    held_out = HeldOut.of(*of(2000))

    assert held_out.score(answers(held_out.samples.target(0), 50)) == pytest.approx(75)
    assert held_out.metric == "accuracy"


def test_without_held_out_samples_there_is_neither_score_nor_gain(of):
    held_out = HeldOut.of(*of(100))
    nothing = np.zeros((0, 3), np.float32)

    assert held_out.score(nothing) is None
    assert held_out.gain(nothing, nothing) is None


def test_only_validation_samples_are_new_to_the_model(of):
    data, model = of(2000)
    assert not HeldOut.of(data, model).is_new

    held_out = np.load(data.rows("held_out"))
    np.save(data.rows("train"), np.setdiff1d(np.load(data.rows("train")), held_out))
    assert HeldOut.of(data, model).is_new


def test_test_samples_that_are_set_aside_are_held_out_and_the_same_are_trained_on(store_dataset, tmp_path):
    data = store_dataset(tmp_path, np.zeros((750, 2), np.float32), np.zeros(750, np.int64), test=150)
    divided = data.divided(set_aside=True)
    rows = {split: np.load(divided.rows(split)).tolist() for split in ("train", "fit", "test", "held_out")}

    assert (len(rows["held_out"]), len(rows["test"]), divided.test_samples) == (50, 100, 100)
    assert sorted(rows["held_out"] + rows["test"]) == np.load(data.rows("test")).tolist()
    assert rows["fit"] == np.load(data.rows("fit")).tolist()
    assert divided.digest != data.digest
    assert divided.divided(set_aside=False) == data
