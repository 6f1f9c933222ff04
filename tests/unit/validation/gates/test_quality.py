"""Classes: which losses of one class fail, and which changes are no loss; a file at chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from comparing import compare

from pipeline.config import GatesConfig
from pipeline.tasks.standing import Standard
from pipeline.validation.gates import evaluate_gates
from pipeline.validation.gates.quality import float_baseline

ALLOWED = GatesConfig()


def found(report, gate, allowed=ALLOWED):
    """The one verdict of that gate."""
    (verdict,) = [verdict for verdict in evaluate_gates(report, allowed) if str(verdict) == gate]
    return verdict


def with_f1(report, index, difference, low, high, **scores):
    """The report with another change of the F1 of class ``index``."""
    (compared,) = report.accuracy
    score = compared.classes[index]
    f1 = replace(score.f1_change, difference=difference, low=low, high=high)
    score = replace(score, f1_change=f1, quantized=replace(score.quantized, **scores))
    classes = (*compared.classes[:index], score, *compared.classes[index + 1 :])
    return replace(report, accuracy=(replace(compared, classes=classes),))


@pytest.mark.parametrize(
    ("difference", "low", "high", "outcome"),
    [
        (-1.2, -2.0, -0.4, "passed"),
        (-4.9, -6.0, -3.8, "passed"),
        (-5.1, -6.0, -4.2, "failed"),
        (-6.0, -13.0, 1.0, "inconclusive"),
        (3.0, 1.0, 5.0, "passed"),
    ],
)
def test_a_class_that_loses_f1_fails_where_the_interval_shows_it(difference, low, high, outcome, report):
    verdict = found(with_f1(report, 1, difference, low, high), "per-class recall")

    assert verdict.outcome == outcome
    if difference < 0:
        assert verdict.got.startswith(f"worst: right, F1 {difference:+.2f} points [{low:+.2f}, {high:+.2f}]")


def test_recall_and_precision_of_the_worst_class_are_said(report):
    verdict = found(with_f1(report, 1, -6.0, -7.0, -5.0, recall=0.812, precision=0.930), "per-class recall")

    assert verdict.got.endswith(", recall -10.00, precision +0.20 of 990 samples")


def judged(report, compared):
    return replace(report, accuracy=(compared,))


def test_the_repair_of_a_class_that_is_said_too_often_passes(report):
    """Float finds 96 % of class 0 because it says it too often; int8 finds fewer and is right more often."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [400, 800, 800])
    eager = np.where((labels > 0) & (rng.random(2000) < 0.13), 0, labels)
    eager[:15] = 1
    repaired = labels.copy()
    repaired[:40], repaired[400:440] = 1, 0
    compared = compare("classification", one_hot(eager), one_hot(repaired), labels, seed=0)

    assert compared.primary.difference > 5
    assert compared.classes[0].recall_change < -5
    assert found(judged(report, compared), "per-class recall").outcome == "passed"


def test_a_class_that_is_no_longer_said_fails(report):
    labels = np.arange(600) % 3
    compared = compare(
        "classification", one_hot(labels), one_hot(np.where(labels == 2, 1, labels)), labels, seed=0
    )
    verdict = found(judged(report, compared), "per-class recall")

    assert verdict.outcome == "failed"
    assert verdict.got.startswith("worst: 2, F1 -100.00 points")


def one_hot(said):
    return np.eye(3)[said]


def maps(channels, dead=(), samples=200):
    """Targets, a good float model's outputs, and int8 outputs in which some channels are constant."""
    rng = np.random.default_rng(1)
    targets = rng.normal(size=(samples, 6, 6, channels))
    outputs = targets + 0.2 * rng.normal(size=targets.shape)
    rounded = outputs + 0.01 * rng.normal(size=targets.shape)
    for at in dead:
        rounded[..., at] = 0.0
    return targets, outputs, rounded


def test_a_dead_channel_among_many_fails_and_is_named(report):
    targets, outputs, rounded = maps(200, dead=[137])
    compared = compare("regression", outputs, rounded, targets, seed=0)
    verdicts = {str(verdict): verdict for verdict in evaluate_gates(judged(report, compared), ALLOWED)}

    assert verdicts["accuracy"].outcome == "passed"
    assert verdicts["accuracy (by channel)"].outcome == "failed"
    assert verdicts["accuracy (by channel)"].got.startswith("worst of 200: channel 137, R2 95.92 to -0.46")


def test_a_dead_channel_of_a_reconstruction_fails_and_is_named(report):
    targets, outputs, rounded = maps(100, dead=[3, 4])
    compared = compare("reconstruction", outputs, rounded, None, inputs=targets, seed=0)
    verdict = found(judged(report, compared), "accuracy (by channel)")

    assert verdict.outcome == "failed"
    assert "also channel" in verdict.got


def test_a_dead_number_of_a_long_vector_fails_and_is_named(report):
    rng = np.random.default_rng(2)
    targets = rng.normal(size=(300, 500))
    outputs = targets + 0.1 * rng.normal(size=targets.shape)
    dead = outputs.copy()
    dead[:, 321] = 0.5
    compared = compare("regression", outputs, dead, targets, seed=0)

    assert "worst of 500: element 321, " in found(judged(report, compared), "accuracy (by channel)").got


def test_channels_that_lose_little_pass(report):
    targets, outputs, rounded = maps(200)
    compared = compare("regression", outputs, rounded, targets, seed=0)

    assert found(judged(report, compared), "accuracy (by channel)").outcome == "passed"


def test_a_channel_that_float_does_not_predict_is_no_loss(report):
    targets, outputs, rounded = maps(70)
    outputs[..., 5], rounded[..., 5] = -targets[..., 5], -2 * targets[..., 5]
    compared = compare("regression", outputs, rounded, targets, seed=0)

    assert compared.channels[0].name == "channel 5"
    assert found(judged(report, compared), "accuracy (by channel)").outcome == "passed"


def test_outputs_of_very_different_scale_are_named_with_what_to_do(report):
    """A detector's box in pixels beside its scores: one int8 scale rounds the scores to nothing."""
    rng = np.random.default_rng(3)
    targets = np.hstack([640 * rng.random((400, 4)), rng.integers(0, 2, (400, 2))])
    outputs = targets + np.array([10] * 4 + [0.1] * 2) * rng.normal(size=targets.shape)
    step = 640 / 255
    compared = compare("regression", outputs, np.round(outputs / step) * step, targets, seed=0)
    verdict = found(judged(report, compared), "accuracy (by channel)")

    assert verdict.outcome == "failed"
    assert verdict.got.startswith("worst of 6: element ")
    assert "its targets vary by 0.5, those of element " in verdict.got
    assert verdict.got.endswith("give the model an output for each, or normalize the targets")


def test_how_much_a_channel_may_lose_is_the_users(report):
    targets, outputs, rounded = maps(80)
    rounded[..., 7] += 0.3
    compared = compare("regression", outputs, rounded, targets, seed=0)

    verdict = found(judged(report, compared), "accuracy (by channel)")
    assert verdict.outcome == "failed"
    lenient = GatesConfig(channel_drop_points=20)
    assert found(judged(report, compared), "accuracy (by channel)", lenient).outcome == "passed"


@pytest.mark.parametrize(("allowed", "outcome"), [(False, "failed"), (True, "warning")])
def test_a_file_at_chance_fails_unless_that_is_allowed(report, allowed, outcome):
    chance = Standard(
        metric="accuracy",
        samples=240,
        score=0.342,
        chance=0.333,
        constant="always class 0",
        standing="at chance",
    )
    judged = replace(report, chance=(chance,))
    [verdict] = float_baseline(judged, GatesConfig(allow_chance=allowed))

    assert verdict.outcome == outcome
    assert verdict.got == (
        "no better than chance: accuracy 34.2% on 240 test samples, "
        "the best constant answer (always class 0) has 33.3%"
    )


def test_a_file_better_than_chance_has_no_line_about_it(report):
    chance = Standard(
        metric="accuracy", samples=240, score=0.9, chance=0.333, constant="always class 0", standing="better"
    )

    assert float_baseline(replace(report, chance=(chance,)), GatesConfig()) == ()
