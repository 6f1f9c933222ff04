"""Paired accuracy: what is counted, and that its interval covers the truth as often as it claims."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from pipeline.errors import InputError
from pipeline.validate.accuracy import (
    AccuracyComparison,
    calibration_error,
    compare,
    mcnemar_exact,
    non_inferior,
)


def _probabilities(classes, top=0.9, count=4):
    """Return rows that say each of ``classes`` with probability ``top``."""
    rows = np.full((len(classes), count), (1 - top) / (count - 1), np.float32)
    rows[np.arange(len(classes)), classes] = top
    return rows


def _flipped(samples, lost, gained, seed=0):
    """Compare models of which one has ``lost`` samples right alone, and the other ``gained``."""
    labels = np.zeros(samples, int)
    baseline, quantized = labels.copy(), labels.copy()
    quantized[:lost] = 1
    baseline[lost : lost + gained] = 1
    return compare(_probabilities(baseline), _probabilities(quantized), labels, seed=seed)


def test_accuracies_flips_and_agreement_are_counted_on_pairs():
    labels = np.array([0, 1, 2, 3, 0, 1])
    baseline = np.array([0, 1, 2, 3, 1, 0])  # 4 right
    quantized = np.array([0, 1, 2, 1, 0, 2])  # 4 right: one lost, one gained, one wrong otherwise

    found = compare(_probabilities(baseline), _probabilities(quantized), labels, seed=0)

    assert (found.task, found.samples) == ("classification", 6)
    assert found.baseline_accuracy == found.quantized_accuracy == pytest.approx(4 / 6)
    assert (found.right_to_wrong, found.wrong_to_right, found.difference_points) == (1, 1, 0)
    assert found.agreement == pytest.approx(3 / 6)
    assert found.baseline_recall == pytest.approx((0.5, 0.5, 1, 1))
    assert found.quantized_recall == pytest.approx((1, 0.5, 1, 0))
    assert found.low_points < 0 < found.high_points


def test_a_class_without_samples_has_no_recall():
    found = compare(_probabilities([0, 1]), _probabilities([0, 1]), np.array([0, 1]), seed=0)

    assert found.baseline_recall == (1, 1, None, None)


def test_one_output_is_read_as_the_probability_of_class_one():
    labels = np.array([1, 0, 1, 0])
    baseline = np.array([[0.9], [0.2], [0.6], [0.7]], np.float32)
    quantized = np.array([[0.9], [0.2], [0.4], [0.3]], np.float32)

    found = compare(baseline, quantized, labels, seed=0)

    assert found.task == "binary"
    assert found.baseline_accuracy == found.quantized_accuracy == 0.75
    assert (found.right_to_wrong, found.wrong_to_right) == (1, 1)
    assert found.baseline_recall == (0.5, 1)
    assert found.confidence_drift == pytest.approx((0 + 0 + 0.2 + 0.4) / 4)
    assert found.baseline_loss == pytest.approx(-np.log([0.9, 0.8, 0.6, 0.3]).mean(), abs=1e-6)


@pytest.mark.parametrize("columns", [1, 5])
def test_logits_give_what_their_probabilities_give(columns):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(200, columns)) * 3
    near = logits + rng.normal(size=logits.shape) * 0.3
    labels = rng.integers(max(columns, 2), size=200)

    def squash(values):
        if columns == 1:
            return 1 / (1 + np.exp(-values))
        return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)

    told = asdict(compare(logits, near, labels, seed=0))
    expected = asdict(compare(squash(logits), squash(near), labels, seed=0))

    for name, value in expected.items():
        assert told[name] == (value if isinstance(value, str) else pytest.approx(value)), name


def test_int8_probabilities_that_do_not_quite_sum_to_one_are_no_logits():
    labels = np.arange(4)
    quantized = np.round(_probabilities(labels) * 256) / 256

    found = compare(_probabilities(labels), quantized, labels, seed=0)

    assert found.quantized_loss == pytest.approx(found.baseline_loss, abs=0.02)


def test_a_probability_of_zero_costs_both_models_the_same_finite_loss():
    certain = np.eye(4, dtype=np.float32)

    found = compare(certain, certain, np.array([1, 1, 2, 3]), seed=0)

    assert found.baseline_loss == found.quantized_loss == pytest.approx(np.log(512) / 4)


@pytest.mark.parametrize(
    ("lost", "gained"), [(0, 0), (1, 0), (3, 12), (12, 3), (50, 50), (130, 99), (4000, 4200)]
)
def test_mcnemar_is_the_exact_binomial_test(lost, gained):
    expected = stats.binomtest(lost, lost + gained, 0.5).pvalue if lost + gained else 1.0

    assert mcnemar_exact(lost, gained) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("samples", "lost", "gained"),
    [(60, 0.02, 0.01), (200, 0.03, 0.02), (1000, 0.01, 0.005), (10_000, 0.01, 0.008), (10_000, 0.001, 0.0)],
)
def test_the_interval_covers_the_true_difference_as_often_as_it_claims(samples, lost, gained):
    rng = np.random.default_rng(samples)
    covered = 0
    for seed in range(150):
        flips = rng.multinomial(samples, [lost, 1 - lost - gained, gained])
        found = _flipped(samples, int(flips[0]), int(flips[2]), seed)
        covered += found.low_points <= 100 * (gained - lost) <= found.high_points
    # 150 trials of a true 95 % fall below 0.9 once in 150 times, and the seeds are fixed.
    assert covered / 150 >= 0.9


def test_the_interval_narrows_with_samples_and_never_to_nothing():
    few, many = _flipped(20, 0, 0), _flipped(10_000, 0, 0)

    assert few.low_points < -5 < 5 < few.high_points
    assert -0.05 <= many.low_points < many.high_points <= 0.05


def test_the_same_seed_gives_the_same_comparison_and_it_is_json():
    one, other = _flipped(500, 9, 4), _flipped(500, 9, 4)

    assert one == other
    assert AccuracyComparison(**json.loads(json.dumps(asdict(one)))).low_points == one.low_points


def test_non_inferiority_is_told_from_the_whole_interval():
    same, worse, unclear = _flipped(10_000, 20, 18), _flipped(10_000, 500, 20), _flipped(100, 2, 0)

    assert non_inferior(same, 1.0) is True
    assert non_inferior(worse, 1.0) is False
    assert non_inferior(unclear, 1.0) is None


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])

    assert calibration_error(confidence, right) == pytest.approx((4 * 0.2 + 2 * 0.05) / 6)
    assert calibration_error(np.ones(5), np.ones(5, bool)) == 0


def test_what_cannot_be_paired_is_refused():
    good, labels = _probabilities([0, 1]), np.array([0, 1])
    with pytest.raises(InputError, match="do not pair up"):
        compare(good, good[:1], labels, seed=0)
    with pytest.raises(InputError, match="do not pair up"):
        compare(good[:0], good[:0], labels[:0], seed=0)
    with pytest.raises(InputError, match=r"labels run from 0 to 4 where the model has 4 classes"):
        compare(good, good, np.array([0, 4]), seed=0)
    with pytest.raises(InputError, match="the int8 model's output for sample 1 is not finite"):
        compare(good, np.where(np.arange(2)[:, None] == 1, np.nan, good), labels, seed=0)
