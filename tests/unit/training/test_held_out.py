"""Which samples are held out, and what a comparison on them says."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.training.held_out import MAX_SAMPLES, HeldOut, split_training


@pytest.fixture
def of(tmp_path, store_dataset, prepared_model):
    """Return a data set of so many samples in three classes, and a model of it."""

    def make(count):
        inputs = np.zeros((count, 5), np.float32)
        return store_dataset(tmp_path / "data", inputs, np.arange(count) % 3), prepared_model(tmp_path)

    return make


def test_a_tenth_is_held_out_and_shares_no_sample_with_the_rest(of):
    train, held_out = split_training(*of(1000), seed=3)

    assert len(held_out) == 100
    np.testing.assert_array_equal(np.sort(np.concatenate([train.rows, held_out.rows])), np.arange(1000))


def test_the_same_seed_holds_out_the_same_samples(of):
    one, same, other = (split_training(*of(1000), seed=seed)[1].rows for seed in (1, 1, 2))

    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("count", "expected"), [(390, 0), (400, 40), (80_000, MAX_SAMPLES)])
def test_few_samples_are_all_trained_on_and_of_many_a_bounded_number_is_held_out(of, count, expected):
    train, held_out = split_training(*of(count), seed=0)

    assert (len(train), len(held_out)) == (count - expected, expected)


def answers(labels, wrong):
    """Return outputs that are right for all but the first ``wrong`` samples."""
    named = np.where(np.arange(len(labels)) < wrong, (labels + 1) % 3, labels)
    return np.eye(3, dtype=np.float32)[named]


def test_a_gain_is_shown_only_if_its_interval_is_above_zero(of):
    held_out = HeldOut.of(*of(2000), seed=0)
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
    held_out = HeldOut.of(*of(2000), seed=0)

    assert held_out.score(answers(held_out.samples.target(0), 50)) == pytest.approx(75)
    assert held_out.metric == "accuracy"


def test_without_held_out_samples_there_is_neither_score_nor_gain(of):
    held_out = HeldOut.of(*of(100), seed=0)
    nothing = np.zeros((0, 3), np.float32)

    assert held_out.score(nothing) is None
    assert held_out.gain(nothing, nothing) is None
