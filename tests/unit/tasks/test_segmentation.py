"""Masks: each metric against scikit-learn 1.x's figure for the same positions, or counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import compare

from pipeline.errors import InputError

TRUTH = (np.arange(4 * 6 * 6) * 7 // 5 % 3).reshape(4, 6, 6)
SAID = np.where(np.arange(144).reshape(4, 6, 6) % 4 == 0, (TRUTH + 1) % 3, TRUTH)


def one_hot(ids, classes=3):
    return 0.8 * np.eye(classes)[ids] + 0.2 / classes


def values(found):
    return {metric.name: metric.baseline for metric in found.metrics}


def test_the_metrics_are_those_that_scikit_learn_gives():
    found = values(compare("segmentation", one_hot(SAID), one_hot(TRUTH), TRUTH, seed=0))

    assert found["mean IoU"] == pytest.approx(60.005467468562045)
    assert found["pixel accuracy"] == pytest.approx(75.0)
    assert found["mean Dice"] == pytest.approx(75.00167784602276)
    expected = -(0.75 * np.log(0.8 + 0.2 / 3) + 0.25 * np.log(0.2 / 3))
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


def test_every_class_is_scored_by_its_positions():
    found = compare(
        "segmentation", one_hot(TRUTH), one_hot(SAID), TRUTH, seed=0, classes=("sky", "sea", "land")
    )

    assert [scores.name for scores in found.classes] == ["sky", "sea", "land"]
    assert sum(scores.support for scores in found.classes) == 144
    assert all(scores.baseline.f1 == 1 for scores in found.classes)
    right = (SAID == TRUTH) & (TRUTH == 1)
    assert found.classes[1].quantized.recall == pytest.approx(right.sum() / (TRUTH == 1).sum())
    assert found.agreement == pytest.approx(0.75)
    assert found.flips is None


@pytest.mark.parametrize("trailing", [True, False], ids=["channel", "no channel"])
def test_one_channel_is_the_foreground(trailing):
    truth = TRUTH % 2
    foreground = np.where(truth == 1, 0.9, 0.2)
    foreground[0, 0, :2] = 0.5  # not above a half: background
    outputs = foreground[..., None] if trailing else foreground
    found = compare("segmentation", outputs, outputs, truth, seed=0)

    missed = int(truth[0, 0, :2].sum())
    ones, zeros = int(truth.sum()), int((1 - truth).sum())
    expected = ((ones - missed) / ones + zeros / (zeros + missed)) / 2
    assert values(found)["mean IoU"] == pytest.approx(100 * expected)


def test_logits_give_what_their_probabilities_give():
    logits = 3 * np.random.default_rng(0).normal(size=(5, 8, 3))
    truth = logits.argmax(axis=-1) * (np.arange(8) % 3 > 0)
    squashed = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)

    assert values(compare("segmentation", logits, logits, truth, seed=0)) == pytest.approx(
        values(compare("segmentation", squashed, squashed, truth, seed=0)), rel=1e-5
    )


def test_labels_may_have_a_channel_of_one():
    flat = compare("segmentation", one_hot(SAID), one_hot(SAID), TRUTH, seed=0)

    assert compare("segmentation", one_hot(SAID), one_hot(SAID), TRUTH[..., None], seed=0) == flat


def test_classes_that_are_nowhere_are_left_out_of_the_means():
    truth = np.minimum(TRUTH, 1)
    found = compare("segmentation", one_hot(truth), one_hot(truth), truth, seed=0)

    assert values(found)["mean IoU"] == 100
    assert found.classes[2].baseline.recall is None


def test_samples_and_not_positions_are_what_is_uncertain():
    fine = np.repeat(TRUTH, 8, axis=2)
    coarse = compare("segmentation", one_hot(TRUTH), one_hot(SAID), TRUTH, seed=0).primary
    repeated = compare(
        "segmentation", one_hot(fine), one_hot(np.repeat(SAID, 8, axis=2)), fine, seed=0
    ).primary

    assert (repeated.low, repeated.high) == pytest.approx((coarse.low, coarse.high))


def test_a_float_model_that_only_knows_the_commonest_class_is_noted():
    truth = np.where(TRUTH == 2, 1, 0)
    background = one_hot(np.zeros_like(truth), 2)

    assert (
        "no more than a model that always answers with the most frequent class"
        in compare("segmentation", background, background, truth, seed=0).note
    )


def test_positions_without_a_class_count_nowhere():
    hidden = np.arange(144).reshape(4, 6, 6) % 5 == 0
    hidden[3] = True  # a sample without any class
    truth = np.where(hidden, -1, TRUTH)
    wrong = np.where(hidden, (TRUTH + 1) % 3, TRUTH)
    found = compare("segmentation", one_hot(np.where(hidden, wrong, SAID)), one_hot(TRUTH), truth, seed=0)
    kept = ~hidden

    assert values(found)["pixel accuracy"] == pytest.approx(100 * (SAID == TRUTH)[kept].mean())
    overlaps = [
        ((k == SAID) & (k == TRUTH) & kept).sum() / (((k == SAID) | (k == TRUTH)) & kept).sum()
        for k in range(3)
    ]
    assert values(found)["mean IoU"] == pytest.approx(100 * np.mean(overlaps))
    assert [metric.quantized for metric in found.metrics[:3]] == [100, 100, 100]
    assert sum(scores.support for scores in found.classes) == kept.sum()


def test_masks_without_any_class_are_refused():
    with pytest.raises(InputError, match="no position of the test samples has a class"):
        compare("segmentation", one_hot(SAID), one_hot(TRUTH), np.full_like(TRUTH, -1), seed=0)


def test_a_foreground_without_a_class_in_places_is_judged_at_the_others():
    truth = np.where(np.arange(144).reshape(4, 6, 6) % 2 == 0, TRUTH % 2, -1)
    right = np.where(truth == 1, 0.9, 0.1)[..., None]
    opposite = np.where(truth == -1, 1 - right[..., 0], right[..., 0])[..., None]

    found = compare("segmentation", right, opposite, truth, seed=0)

    assert all(metric.difference == 0 for metric in found.metrics)
    assert found.agreement == 1
