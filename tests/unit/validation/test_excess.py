"""The excess: what int8 loses under a shift beyond its clean loss, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.tasks.evidence import Estimate, share
from pipeline.validation.excess import Excess, PrimaryEvaluator, compare, pool

SHIFTS, SEVERITIES = 19, 5


def right(rng, samples, rate):
    return rng.random(samples) < rate


def flipped(rng, answers, rate, loss=0.0):
    """The int8 model's answers: flips either way alike, and a share of right ones lost."""
    found = np.where(rng.random(len(answers)) < rate, ~answers, answers)
    return found & ~(rng.random(len(answers)) < loss)


def excess(clean, shifted, **options):
    return compare([shifted], clean, seed=0, **({"paired": True} | options))[0]


def test_the_excess_is_the_shifted_difference_less_the_clean_one():
    clean = share("top-1", np.array([1, 1, 1, 0], bool), np.array([1, 1, 0, 0], bool))
    shifted = share("top-1", np.array([1, 1, 0, 1], bool), np.array([0, 0, 0, 1], bool))
    found = excess(clean, shifted)
    assert (found.baseline, found.quantized) == (75, 25)
    assert found.difference == -50
    assert found.excess == -25
    assert found.excess_low <= found.excess <= found.excess_high


def test_what_both_distributions_lose_alike_is_no_excess():
    rng = np.random.default_rng(0)
    answers = right(rng, 500, 0.9)
    lost = answers & (rng.random(500) > 0.1)
    found = excess(share("top-1", answers, lost), share("top-1", answers, lost))
    assert found.difference < -5
    assert found.excess == 0
    assert found.standard_error < 0.5


def test_pairs_tell_more_than_two_sets_of_samples_do():
    rng = np.random.default_rng(0)
    answers = right(rng, 500, 0.8)
    quantized = flipped(rng, answers, 0.1)
    clean = share("top-1", answers, quantized)
    shifted = share("top-1", answers, flipped(rng, quantized, 0.02))
    paired, apart = (excess(clean, shifted, paired=pairs) for pairs in (True, False))
    assert paired.excess == apart.excess
    assert paired.standard_error < 0.8 * apart.standard_error


def test_two_sets_of_samples_add_their_variances():
    rng = np.random.default_rng(1)
    many, few = right(rng, 4000, 0.9), right(rng, 300, 0.7)
    clean = share("top-1", many, flipped(rng, many, 0.05))
    shifted = share("top-1", few, flipped(rng, few, 0.2))
    found = excess(clean, shifted, paired=False)
    expected = np.hypot(clean.influence.std() / 4000**0.5, shifted.influence.std() / 300**0.5)
    np.testing.assert_allclose(found.standard_error, expected, rtol=0.05)
    np.testing.assert_allclose(found.excess_high - found.excess_low, 2 * 1.96 * expected, rtol=0.1)


def test_a_metric_of_which_less_is_better_is_turned_round():
    before = Estimate(name="relative RMSE", baseline=5, quantized=6, influence=np.ones(10), better="lower")
    after = Estimate(name="relative RMSE", baseline=7, quantized=12, influence=np.ones(10), better="lower")
    found = excess(before, after)
    assert found.difference == -5
    assert found.excess == -4


def test_severities_are_pooled_by_sample():
    rng = np.random.default_rng(0)
    answers = right(rng, 400, 0.8)
    estimates = [share("top-1", answers, flipped(rng, answers, rate)) for rate in (0.05, 0.1, 0.15)]
    pooled = pool(estimates)
    np.testing.assert_allclose(pooled.quantized, np.mean([estimate.quantized for estimate in estimates]))
    np.testing.assert_allclose(pooled.influence.mean(), pooled.quantized - pooled.baseline, atol=1e-9)


@pytest.mark.parametrize(
    ("estimate", "error", "verdict"),
    [
        (-5.0, 1.0, "int8 loses more"),
        (-2.5, 1.0, "inconclusive"),  # shown for one shift, not for 19
        (-0.5, 0.1, "as float does"),  # shown, and less than the margin
        (0.0, 0.4, "as float does"),
        (0.0, 0.9, "inconclusive"),
        (5.0, 1.0, "int8 loses less"),
    ],
)
def test_a_verdict_needs_both_certainty_and_size(estimate, error, verdict):
    found = Excess(
        baseline=80,
        quantized=80,
        difference=estimate,
        low=estimate,
        high=estimate,
        excess=estimate,
        excess_low=estimate - 1.96 * error,
        excess_high=estimate + 1.96 * error,
        standard_error=error,
    )
    assert found.verdict(1.0, SHIFTS) == verdict
    low, high = found.corrected(1)
    np.testing.assert_allclose((low, high), (found.excess_low, found.excess_high), atol=1e-3)


def test_honest_models_are_seldom_blamed():
    """In 100 suites of 19 shifts int8 flips answers either way alike, more under a shift than clean."""
    rng = np.random.default_rng(0)
    blamed = 0
    for _ in range(100):
        answers = right(rng, 500, 0.93)
        clean = share("top-1", answers, flipped(rng, answers, 0.01))
        pooled = []
        for _ in range(SHIFTS):
            levels = []
            for severity in range(SEVERITIES):
                shifted = answers & right(rng, 500, 0.95 - 0.1 * severity)
                # As many wrong answers become right as right ones become wrong: no loss, only flips.
                rate = 0.02 * shifted.mean() / max((~shifted).mean(), 0.02)
                gained = ~shifted & right(rng, 500, rate)
                levels.append(share("top-1", shifted, shifted & ~right(rng, 500, 0.02) | gained))
            pooled.append(pool(levels))
        found = compare(pooled, clean, paired=True, seed=0, bootstrap=20)
        blamed += any(one.verdict(0.0, SHIFTS) == "int8 loses more" for one in found)
    assert blamed <= 5


def test_a_loss_of_six_points_is_found():
    rng = np.random.default_rng(0)
    for _ in range(20):
        answers = right(rng, 500, 0.93)
        clean = share("top-1", answers, flipped(rng, answers, 0.01))
        levels = [
            share("top-1", shifted, flipped(rng, shifted, 0.02, loss=0.08))
            for shifted in (answers & right(rng, 500, 0.9) for _ in range(SEVERITIES))
        ]
        assert excess(clean, pool(levels)).verdict(1.0, SHIFTS) == "int8 loses more"


def test_what_is_known_of_the_outputs_is_taken_over():
    """Logits that happen to look like probabilities under a shift stay logits."""
    evaluator = PrimaryEvaluator("classification", seed=0)
    evaluator.set_logits(True)
    outputs = np.array([[0.0, 1.0], [1.0, 0.0]])
    evaluator.add(outputs, outputs, np.array([1, 0]))
    assert evaluator.is_logits is True
    estimate, _ = evaluator.primary()
    assert estimate.name == "top-1"
    assert estimate.baseline == 100
