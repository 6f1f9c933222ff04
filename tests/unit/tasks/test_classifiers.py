"""Classifiers: each metric against scikit-learn 1.x's figure for the same outputs, or counted by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from comparing import compare

ROWS = np.arange(40)


def probabilities(classes, top=0.9, count=4):
    """Return rows that say each of ``classes`` with probability ``top``."""
    rows = np.full((len(classes), count), (1 - top) / (count - 1), np.float32)
    rows[np.arange(len(classes)), classes] = top
    return rows


def values(found):
    return {metric.name: metric.baseline for metric in found.metrics}


def test_a_classifier_has_the_metrics_that_scikit_learn_gives():
    logits = np.sin(1.7 * ROWS[:, None] * (1 + np.arange(5)) + np.arange(5)) * 2
    labels = (ROWS * ROWS + ROWS // 3) % 5
    logits[ROWS, labels] += 1.1
    found = compare("classification", logits, logits, labels, seed=0)

    assert values(found) == pytest.approx(
        {"top-1": 32.5, "top-3": 67.5, "macro F1": 29.102167182662537, "loss": 1.823003024441523}
    )
    recall = [scores.baseline.recall for scores in found.classes]
    precision = [scores.baseline.precision for scores in found.classes]
    f1 = [scores.baseline.f1 for scores in found.classes]
    assert [scores.support for scores in found.classes] == [8, 12, 3, 9, 8]
    assert recall == pytest.approx([0.5, 1 / 6, 0, 4 / 9, 0.375])
    assert precision == pytest.approx([4 / 11, 2 / 7, 0, 0.5, 1 / 3])
    assert f1 == pytest.approx([0.42105263, 0.21052632, 0, 0.47058824, 0.35294118])


def test_a_binary_classifier_has_the_metrics_that_scikit_learn_gives():
    labels = ((ROWS * 7) % 5 < 2).astype(int)
    scores = np.round(0.5 + 0.45 * np.sin(2.3 * ROWS), 1)
    scores = np.clip(scores + 0.2 * labels, 0.05, 0.95).round(2)[:, None]  # ten values, so that many tie
    found = compare("binary", scores, scores, labels, seed=0)

    assert values(found) == pytest.approx(
        {
            "accuracy": 50.0,
            "AUC": 63.151041666666664,
            "average precision": 60.46422939805293,
            "F1": 47.368421052631575,
            "loss": 0.8472238188801076,
        }
    )


def test_flips_agreement_and_recall_are_counted_on_pairs():
    labels = np.array([0, 1, 2, 3, 0, 1])
    baseline = np.array([0, 1, 2, 3, 1, 0])  # 4 right
    quantized = np.array([0, 1, 2, 1, 0, 2])  # 4 right: one lost, one gained, one wrong otherwise
    found = compare("classification", probabilities(baseline), probabilities(quantized), labels, seed=0)

    assert found.primary.baseline == found.primary.quantized == pytest.approx(400 / 6)
    assert (found.flips.right_to_wrong, found.flips.wrong_to_right) == (1, 1)
    assert found.primary.difference == 0
    assert found.agreement == pytest.approx(3 / 6)
    assert [scores.baseline.recall for scores in found.classes] == [0.5, 0.5, 1, 1]
    assert [scores.quantized.recall for scores in found.classes] == [1, 0.5, 1, 0]


def test_labels_shuffled_for_one_class_are_found_by_its_recall_alone():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 5000)
    broken = np.where((labels == 7) & (rng.random(5000) < 0.5), 3, labels)
    names = tuple("abcdefghij")
    found = compare(
        "classification",
        probabilities(labels, count=10),
        probabilities(broken, count=10),
        labels,
        seed=0,
        classes=names,
    )
    fallen = {scores.name: scores.quantized.recall for scores in found.classes if scores.quantized.recall < 1}

    assert list(fallen) == ["h"]
    assert fallen["h"] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("classes", "top"), [(3, None), (4, 3), (9, 3), (10, 5), (100, 5)])
def test_the_k_of_top_k_grows_with_the_classes(classes, top):
    labels = np.arange(200) % classes
    found = compare("classification", np.eye(classes)[labels], np.eye(classes)[labels], labels, seed=0)
    tops = [metric.name for metric in found.metrics if metric.name.startswith("top-")]

    assert tops == (["top-1"] if top is None else ["top-1", f"top-{top}"])


def test_of_equal_probabilities_the_lower_class_is_first_as_on_the_device():
    flat = np.full((4, 4), 0.25)
    found = compare("classification", flat, flat, np.arange(4), seed=0)

    assert values(found)["top-1"] == 25
    assert values(found)["top-3"] == 75


def test_one_output_is_read_as_the_probability_of_class_one():
    baseline = np.array([[0.9], [0.2], [0.6], [0.7]], np.float32)
    quantized = np.array([[0.9], [0.2], [0.5], [0.3]], np.float32)
    found = compare("binary", baseline, quantized, np.array([1, 0, 1, 0]), seed=0)

    assert found.metric("accuracy").baseline == found.metric("accuracy").quantized == 75
    assert (found.flips.right_to_wrong, found.flips.wrong_to_right) == (1, 1)
    assert [scores.baseline.recall for scores in found.classes] == [0.5, 1]
    assert found.confidence_drift == pytest.approx((0 + 0 + 0.1 + 0.4) / 4)
    assert found.metric("loss").baseline == pytest.approx(-np.log([0.9, 0.8, 0.6, 0.3]).mean(), abs=1e-6)


@pytest.mark.parametrize(("task", "columns"), [("binary", 1), ("classification", 5)])
def test_logits_give_what_their_probabilities_give(task, columns):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(200, columns)) * 3
    near = logits + rng.normal(size=logits.shape) * 0.3
    labels = rng.integers(max(columns, 2), size=200)

    def squash(outputs):
        if columns == 1:
            return 1 / (1 + np.exp(-outputs))
        return np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)

    told = compare(task, logits, near, labels, seed=0)
    said = compare(task, squash(logits), squash(near), labels, seed=0)

    for one, other in zip(told.metrics, said.metrics, strict=True):
        assert (one.baseline, one.quantized, one.low) == pytest.approx(
            (other.baseline, other.quantized, other.low)
        )
    assert told.quantized_calibration_error == pytest.approx(said.quantized_calibration_error)


def test_int8_probabilities_that_do_not_quite_sum_to_one_are_no_logits():
    rows = probabilities(np.arange(4))
    found = compare("classification", rows, np.round(rows * 256) / 256, np.arange(4), seed=0)

    assert found.metric("loss").difference == pytest.approx(0, abs=0.02)


def test_a_probability_of_zero_costs_both_models_the_same_finite_loss():
    certain = np.eye(4, dtype=np.float32)
    found = compare("classification", certain, certain, np.array([1, 1, 2, 3]), seed=0)

    assert found.metric("loss").baseline == found.metric("loss").quantized == pytest.approx(np.log(512) / 4)


def test_classes_without_samples_are_left_out_of_macro_f1():
    rows = probabilities([0, 1, 1, 3])
    found = compare("classification", rows, rows, np.array([0, 1, 1, 1]), seed=0)

    assert values(found)["macro F1"] == pytest.approx(100 * (1 + 0.8) / 2)
    assert found.classes[3].baseline.recall is None


def test_a_float_model_at_chance_is_noted():
    rng = np.random.default_rng(0)
    noise, labels = rng.random((2000, 10)), np.arange(2000) % 10
    note = compare("classification", noise, noise, labels, seed=0).note

    assert re.fullmatch(
        r"the float model is right on \d+\.\d% of the samples, not measurably better than chance "
        r"\(10\.0% with 10 classes\): are the labels in the model's order\?",
        note,
    )


def test_a_float_model_that_only_knows_the_commonest_class_is_noted():
    labels = np.array([0] * 70 + [1] * 20 + [2] * 10)
    rows = probabilities(np.zeros(100, int), count=3)

    assert compare("classification", rows, rows, labels, seed=0).note == (
        "the float model is right on 70.0% of the samples, no more than a model that always answers "
        "with the most frequent class (70.0%)"
    )


def test_a_binary_model_that_cannot_rank_is_noted():
    scores = np.random.default_rng(0).random((1000, 1))
    labels = np.arange(1000) % 2

    note = compare("binary", scores, scores, labels, seed=0).note
    assert note.startswith("the float model's AUC of ")
    assert note.endswith("not measurably better than chance (50 %): is class 1 the positive class?")
    assert compare("binary", labels[:, None] * 0.8, scores, labels, seed=0).note == ""


def test_two_classes_by_two_outputs_have_an_auc_as_well():
    scores = np.linspace(0, 1, 20)[:, None]
    labels = np.arange(20) % 3 % 2
    one = compare("binary", scores, scores**2, labels, seed=0)
    two = compare("classification", *(np.hstack([1 - s, s]) for s in (scores, scores**2)), labels, seed=0)

    assert two.metric("AUC") == one.metric("AUC")
    assert two.gated == (two.primary, two.metric("AUC"))


def test_with_one_class_only_there_is_no_auc_and_that_is_said():
    scores = np.linspace(0.6, 0.9, 8)[:, None]
    found = compare("binary", scores, scores, np.ones(8, int), seed=0)

    assert "AUC" not in values(found)
    assert found.note == "every sample is of class 1, so that there is no AUC"
    assert len(found.gated) == 1
