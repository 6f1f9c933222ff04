"""Confusions, confidences and flips, counted by hand."""

from __future__ import annotations

import numpy as np
from comparing import compare

BASELINE = [0, 1, 2, 2, 0]
QUANTIZED = [0, 2, 2, 1, 1]
LABELS = [0, 1, 2, 1, 2]
#         both, float only, both, int8 only, neither


def answers(classes, tops, count=3):
    rows = np.zeros((len(classes), count), np.float32) + 0.05
    rows[np.arange(len(classes)), classes] = tops
    return rows / rows.sum(axis=1, keepdims=True)


def found(names=("left", "right", "up")):
    baseline = answers(BASELINE, [0.9, 0.9, 0.9, 0.4, 0.9])
    quantized = answers(QUANTIZED, [0.9, 0.3, 0.9, 0.9, 0.9])
    return compare("classification", baseline, quantized, np.array(LABELS), seed=0, classes=names)


def test_confusions_have_a_row_for_each_true_class():
    confusion = found().confusion

    assert confusion.baseline == ((1, 0, 0), (0, 1, 1), (1, 0, 1))
    assert confusion.quantized == ((1, 0, 0), (0, 1, 1), (0, 1, 1))


def test_flips_name_the_classes_and_how_sure_each_model_was():
    lost, gained = found().flipped

    assert (lost.sample, lost.label, lost.baseline, lost.quantized) == (
        1, "right", ("right", 0.9), ("up", 0.75),
    )  # fmt: skip
    assert (gained.sample, gained.label, gained.baseline, gained.quantized) == (
        3, "right", ("up", 0.8), ("right", 0.9),
    )  # fmt: skip


def test_the_surest_mistakes_are_kept_of_many():
    tops = np.linspace(0.3, 0.9, 40)
    labels = np.zeros(40, int)
    kept = compare(
        "classification", answers(labels, 0.9), answers(labels + 1, tops), labels, seed=0, classes=()
    ).flipped

    assert [each.sample for each in kept] == list(range(39, 23, -1))
    assert kept[0].label == "0"


def test_confidences_are_counted_in_twenty_bins():
    confidences = found().confidences

    assert (sum(confidences.baseline[17:19]), confidences.baseline[16]) == (4, 1)
    assert sum(confidences.quantized) == len(LABELS)


def test_many_classes_have_no_confusion():
    labels = np.arange(50)
    rows = np.eye(50, dtype=np.float32)

    assert compare("classification", rows, rows, labels, seed=0).confusion is None
