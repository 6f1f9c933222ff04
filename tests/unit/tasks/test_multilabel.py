"""Several labels a sample: each metric against scikit-learn 1.x's figure for the same outputs."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import compare

ROWS, LABELS = np.arange(40)[:, None], np.arange(3)
SCORES = np.round(0.5 + 0.45 * np.sin(1.3 * ROWS * (LABELS + 1) + LABELS), 2)
TRUTH = ((ROWS * (LABELS + 3) + LABELS) % (LABELS + 4) < 2).astype(np.uint8)


def test_the_metrics_are_those_that_scikit_learn_gives():
    found = compare("multi-label", SCORES, SCORES, TRUTH, seed=0)

    assert {metric.name: metric.baseline for metric in found.metrics} == pytest.approx(
        {
            "mean average precision": 42.3158477244878,
            "macro AUC": 47.33831272893773,
            "micro F1": 41.81818181818181,
            "subset accuracy": 15.0,
            "loss": 1.0643683609661538,
        }
    )
    assert found.primary.name == "mean average precision"


def test_a_label_that_int8_no_longer_finds_shows_first_in_the_primary_metric():
    rng = np.random.default_rng(0)
    truth = rng.random((4000, 4)) < [0.4, 0.4, 0.4, 0.02]
    baseline = np.clip(0.5 * truth + 0.5 * rng.random(truth.shape), 0, 1)
    quantized = baseline.copy()
    quantized[:, 3] = rng.random(4000) * 0.4
    found = compare("multi-label", baseline, quantized, truth, seed=0, classes=("a", "b", "c", "rare"))

    assert found.primary.high < -20
    assert found.classes[3].name == "rare"
    assert found.classes[3].quantized.recall == 0
    assert found.metric("micro F1").difference > found.primary.difference
    assert found.note == ""


def test_whole_sets_flip_and_single_answers_agree():
    baseline = np.array([[0.9, 0.1], [0.9, 0.9], [0.2, 0.1]])
    quantized = np.array([[0.9, 0.8], [0.9, 0.9], [0.2, 0.1]])
    truth = np.array([[1, 0], [1, 1], [0, 1]])
    found = compare("multi-label", baseline, quantized, truth, seed=0)

    assert (found.flips.right_to_wrong, found.flips.wrong_to_right) == (1, 0)
    assert found.agreement == pytest.approx(5 / 6)
    assert found.metric("subset accuracy").difference == pytest.approx(-100 / 3)
    assert found.confidence_drift == pytest.approx(0.7 / 6)


def test_labels_that_never_vary_are_not_ranked():
    truth = TRUTH.copy()
    truth[:, 0] = 0
    found = compare("multi-label", SCORES, SCORES, truth, seed=0)
    alone = compare("multi-label", SCORES[:, 1:], SCORES[:, 1:], truth[:, 1:], seed=0)

    assert found.primary.baseline == pytest.approx(alone.primary.baseline)


def test_where_no_label_varies_whole_sets_are_judged_and_that_is_said():
    found = compare("multi-label", SCORES, SCORES, TRUTH * 0, seed=0)

    assert [metric.name for metric in found.metrics] == ["subset accuracy", "loss"]
    assert "nothing can be ranked" in found.note


def test_a_float_model_at_chance_is_noted():
    note = compare("multi-label", SCORES, SCORES, TRUTH, seed=0).note

    assert note.startswith("the float model's macro AUC of ")
    assert note.endswith("not measurably better than chance (50 %): are the labels in the model's order?")
