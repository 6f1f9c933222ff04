"""Intervals: that they cover the truth as often as they claim, whatever the metric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from comparing import compare

from pipeline.tasks.comparison import Metric
from pipeline.tasks.evidence import Estimate, mean, share
from pipeline.validation.resampling import MAX_UNITS, shown, with_intervals

TRIALS = 120


def classes(rng, samples):
    """Four classes of unequal size, logits of two models that share most of their noise."""
    labels = rng.choice(4, samples, p=[0.55, 0.25, 0.15, 0.05])
    logits = rng.normal(size=(samples, 4)) + 1.5 * np.eye(4)[labels]
    return "classification", logits, logits + 0.4 * rng.normal(size=logits.shape), labels


def two(rng, samples):
    labels = (rng.random(samples) < 0.2).astype(int)
    logits = 1.5 * labels[:, None] - 1 + rng.normal(size=(samples, 1))
    return "binary", logits, logits + 0.5 * rng.normal(size=logits.shape), labels


def labels(rng, samples):
    truth = (rng.random((samples, 5)) < 0.15).astype(np.uint8)
    logits = 2.0 * truth - 1 + rng.normal(size=truth.shape)
    return "multi-label", logits, logits + 0.5 * rng.normal(size=truth.shape), truth


def numbers(rng, samples):
    targets = rng.normal(size=(samples, 2)) * [1, 30]
    errors = rng.normal(size=(samples, 2)) * [0.3, 6]
    return (
        "regression",
        targets + errors,
        targets + errors + rng.normal(size=errors.shape) * [0.1, 2],
        targets,
    )


def masks(rng, samples):
    truth = np.repeat(rng.choice(3, (samples, 1), p=[0.7, 0.2, 0.1]), 30, axis=1)
    logits = rng.normal(size=(samples, 30, 3)) + 1.5 * np.eye(3)[truth]
    return "segmentation", logits, logits + 0.4 * rng.normal(size=logits.shape), truth


@pytest.mark.parametrize("draw", [classes, two, labels, numbers, masks])
def test_intervals_cover_the_true_difference_as_often_as_they_claim(draw):
    rng = np.random.default_rng(1)
    task, *drawn = draw(rng, 100_000)
    truth = {metric.name: metric.difference for metric in compare(task, *drawn, seed=0, bootstrap=2).metrics}
    covered = dict.fromkeys(truth, 0)
    for seed in range(TRIALS):
        task, *drawn = draw(rng, 250)
        for metric in compare(task, *drawn, seed=seed, bootstrap=300).metrics:
            if metric.low is not None and metric.name in truth:
                covered[metric.name] += metric.low <= truth[metric.name] <= metric.high
    # The output that loses most is another in every sample, and a largest error has no interval.
    counted = {name for name in covered if "loses most" not in name and name != "largest error"}
    assert len(counted) >= 4
    assert {name: covered[name] for name in counted if covered[name] < 0.89 * TRIALS} == {}


def test_an_interval_is_what_drawing_pairs_and_computing_again_gives():
    rng = np.random.default_rng(2)
    task, baseline, quantized, truth = classes(rng, 400)
    found = compare(task, baseline, quantized, truth, seed=0).metric("macro F1")
    again = []
    for _ in range(600):
        drawn = rng.integers(0, 400, 400)
        metrics = compare(task, baseline[drawn], quantized[drawn], truth[drawn], seed=0, bootstrap=2)
        again.append(metrics.metric("macro F1").difference)

    low, high = np.percentile(again, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * (high - low))


def test_more_samples_than_are_drawn_one_by_one_have_the_interval_of_their_mean():
    change = np.random.default_rng(3).normal(size=7 * MAX_UNITS // 2)
    # Sorted data must not matter.
    (metric,) = with_intervals(
        [mean("loss", np.zeros(len(change)), np.sort(change), unit="nats")], seed=0, bootstrap=2000
    )

    half = 1.96 * change.std() / np.sqrt(len(change))
    assert metric.high - metric.low == pytest.approx(2 * half, rel=0.06)
    assert (metric.low + metric.high) / 2 == pytest.approx(change.mean(), abs=0.1 * half)


def test_few_samples_without_a_flip_are_no_certainty():
    few, many = (
        with_intervals([share("top-1", np.ones(n, bool), np.ones(n, bool))], seed=0, bootstrap=2000)[0]
        for n in (20, 10_000)
    )

    assert few.low < -5 < 5 < few.high
    assert -0.05 <= many.low < 0 < many.high <= 0.05


def test_a_figure_without_influence_has_no_interval():
    estimates = [
        Estimate(name="largest error", baseline=1.0, quantized=3.0, influence=None),
        share("top-1", np.array([True, False]), np.array([True, True])),
    ]
    largest, top = with_intervals(estimates, seed=0, bootstrap=100)

    assert (largest.difference, largest.low, largest.high) == (2.0, None, None)
    assert top.low is not None


def test_equal_models_differ_by_nothing_and_not_by_the_order_of_additions():
    before = np.random.default_rng(0).random(1000)
    estimates = [mean("loss", before, np.nextafter(before, 1), unit="nats")]
    (metric,) = with_intervals(estimates, seed=0, bootstrap=100)

    assert metric.baseline == metric.quantized
    assert metric.difference == metric.low == metric.high == 0


def test_the_interval_of_a_class_covers_its_true_change_as_often_as_it_claims():
    rng = np.random.default_rng(5)
    _, before, after, truth = classes(rng, 200_000)
    true = [
        score.f1_change.difference
        for score in compare("classification", before, after, truth, seed=0).classes
    ]
    inside = np.zeros(4)
    for trial in range(TRIALS):
        _, before, after, truth = classes(rng, 400)
        found = compare("classification", before, after, truth, seed=trial, bootstrap=500)
        for index, score in enumerate(found.classes):
            inside[index] += score.f1_change.low <= true[index] <= score.f1_change.high
    assert (inside / TRIALS > 0.88).all()


def test_the_f1_of_a_class_is_that_of_its_counts():
    labels = np.array([0, 0, 0, 1, 1, 2])
    before, after = np.array([0, 0, 1, 1, 0, 2]), np.array([0, 1, 1, 1, 1, 2])
    found = compare("classification", np.eye(3)[before], np.eye(3)[after], labels, seed=0)

    changes = [score.f1_change for score in found.classes]
    assert [change.baseline for change in changes] == pytest.approx([200 / 3, 50, 100])
    assert [change.quantized for change in changes] == pytest.approx([50, 200 / 3, 100])
    assert [change.baseline / 100 for change in changes] == pytest.approx(
        [score.baseline.f1 for score in found.classes]
    )


def test_few_samples_without_a_difference_are_no_certainty():
    same = np.eye(2)[[0, 1] * 10]
    (found, _) = compare("classification", same, same, np.array([0, 1] * 10), seed=0).classes

    assert found.f1_change.difference == 0
    assert found.f1_change.low < -1 < 1 < found.f1_change.high


def test_a_difference_is_shown_for_all_metrics_together():
    sure = Metric(
        name="F1", unit="points", better="higher", baseline=90, quantized=80, difference=-10, low=-12, high=-8
    )
    close = replace(sure, difference=-2.2, low=-4.2, high=-0.2)

    assert shown([sure, close]) == (True, True)
    assert shown([sure, close], count=3) == (True, False)
    assert shown([replace(sure, difference=0.0, low=0.0, high=0.0)]) == (False,)
