"""What is counted on probabilities: McNemar's test, calibration, losses, scores of classes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from pipeline.tasks.probabilities import (
    are_probabilities,
    calibration_error,
    class_scores,
    counted_flips,
    exclusive_probabilities,
    flips,
    independent_probabilities,
    loss,
)


@pytest.mark.parametrize(
    ("lost", "gained", "p"), [(0, 0, 1.0), (1, 0, 1.0), (3, 12, 0.03515625), (50, 50, 1.0)]
)
def test_the_p_of_flips_is_that_of_the_exact_mcnemar_test(lost, gained, p):
    assert counted_flips(lost, gained).mcnemar_p == counted_flips(gained, lost).mcnemar_p == pytest.approx(p)


def test_flips_count_what_one_model_alone_has_right():
    before, after = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)

    assert (flips(before, after).right_to_wrong, flips(before, after).wrong_to_right) == (2, 1)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])

    assert calibration_error(confidence, right) == pytest.approx((4 * 0.2 + 2 * 0.05) / 6)
    assert calibration_error(np.ones(5), np.ones(5, bool)) == 0


def test_logits_become_what_softmax_and_sigmoid_make_of_them():
    logits = np.array([[-800.0, 0.0, 800.0], [1.0, 2.0, -3.0]])

    expected = special.softmax(logits, axis=1)
    assert exclusive_probabilities(logits, from_logits=True) == pytest.approx(expected)
    assert independent_probabilities(logits, from_logits=True) == pytest.approx(special.expit(logits))


def test_probabilities_of_int8_are_made_to_sum_to_one():
    rows = np.array([[0.5, 0.25, 0.24], [0.0, 0.0, 0.0]])

    assert exclusive_probabilities(rows, from_logits=False).sum(axis=1) == pytest.approx([1, 0])


def test_logits_are_told_by_their_range():
    assert are_probabilities(np.array([[0.2, 0.8]]), exclusive=True)
    assert are_probabilities(np.array([[0.9, 0.8]]), exclusive=False)
    assert not are_probabilities(np.array([[0.9, 0.8]]), exclusive=True)
    assert not are_probabilities(np.array([[-0.1, 1.1]]), exclusive=False)


def test_a_probability_of_zero_has_the_loss_of_half_an_int8_step():
    assert loss(np.array([0.0, 1 / 512, 1.0])) == pytest.approx([np.log(512), np.log(512), 0])


def test_what_would_divide_by_zero_has_no_score():
    never_there, never_said, neither = class_scores(
        ("a", "b", "c"),
        np.array([0, 4, 0]),
        (np.array([0, 0, 0]), np.array([3, 0, 0])),
        (np.array([0, 2, 0]), np.array([0, 2, 0])),
    )

    assert (never_there.baseline.recall, never_there.baseline.precision, never_there.baseline.f1) == (
        None,
        0,
        0,
    )
    assert (never_said.baseline.recall, never_said.baseline.precision, never_said.baseline.f1) == (0, None, 0)
    assert (never_said.quantized.recall, never_said.quantized.precision) == (0.5, 1)
    assert neither.baseline.f1 is neither.quantized.f1 is None
