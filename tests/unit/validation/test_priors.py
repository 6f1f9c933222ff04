"""Class priors: what both models would score if classes were more or less frequent."""

from __future__ import annotations

import numpy as np

from pipeline.validation.excess import PrimaryEvaluator, compare
from pipeline.validation.priors import class_weights, under_prior

NAMES = ("cat", "dog", "owl")
# Four cats, three dogs, one owl; float has one cat wrong, int8 that one and one dog and the owl.
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2])
FLOAT = np.array([0, 0, 0, 1, 1, 1, 1, 2])
INT8 = np.array([0, 0, 0, 1, 1, 1, 0, 0])


def judged(labels=LABELS, before=FLOAT, after=INT8):
    evaluator = PrimaryEvaluator("classification", seed=0, from_logits=False)
    evaluator.add(np.eye(3)[before], np.eye(3)[after], labels)
    return evaluator.kept, evaluator.primary()[0]


def test_a_class_made_five_times_as_frequent_counts_five_times():
    kept, clean = judged()
    found = under_prior(kept, class_weights(LABELS, NAMES)["owl x5"], clean)
    np.testing.assert_allclose(found.baseline, 100 * (3 + 3 + 5) / (4 + 3 + 5))
    np.testing.assert_allclose(found.quantized, 100 * (3 + 2 + 0) / (4 + 3 + 5))
    [excess] = compare([found], clean, paired=True, seed=0)
    np.testing.assert_allclose(excess.excess, 100 * (5 - 11) / 12 - 100 * (5 - 7) / 8)


def test_a_long_tail_has_the_frequencies_of_its_name():
    weights = class_weights(LABELS, NAMES)
    counts = np.bincount(LABELS)
    for name, wanted in (("long tail", [100, 10, 1]), ("long tail, reversed", [1, 10, 100])):
        frequency = weights[name] * counts
        np.testing.assert_allclose(frequency / frequency.min(), wanted)


def test_equal_weights_change_nothing():
    kept, clean = judged()
    found = under_prior(kept, np.ones(3), clean)
    assert (found.baseline, found.quantized) == (clean.baseline, clean.quantized)
    [excess] = compare([found], clean, paired=True, seed=0)
    assert excess.excess == 0


def test_classes_without_samples_are_left_out():
    weights = class_weights(np.array([0, 0, 2]), NAMES)
    assert set(weights) == {"cat x5", "owl x5", "long tail", "long tail, reversed"}
    assert weights["long tail"][1] == 0
    assert class_weights(np.zeros(4, int), NAMES) == {}


def test_the_interval_is_as_wide_as_the_estimate_varies():
    """Over 300 draws of 400 samples the standard error is the standard deviation of the excess."""
    rng = np.random.default_rng(0)
    estimates, errors = [], []
    for _ in range(300):
        labels = rng.integers(0, 3, 400)
        before = np.where(rng.random(400) < 0.1, (labels + 1) % 3, labels)
        after = np.where(rng.random(400) < np.array([0.02, 0.05, 0.2])[labels], (labels + 1) % 3, before)
        kept, clean = judged(labels, before, after)
        weights = class_weights(labels, NAMES)["owl x5"]
        [found] = compare([under_prior(kept, weights, clean)], clean, paired=True, seed=0, bootstrap=20)
        estimates.append(found.excess)
        errors.append(found.standard_error)
    np.testing.assert_allclose(np.mean(errors), np.std(estimates), rtol=0.12)
