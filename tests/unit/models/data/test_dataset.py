"""What data must fulfil before anything is trained on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.data.dataset import Data, check_data, shared_samples, stratified_split
from models.errors import DataError

INPUTS = np.random.default_rng(0).random((10, 3, 2)).astype(np.float32)
LABELS = np.arange(10) % 4
GOOD = Data(INPUTS, LABELS, INPUTS[:4], LABELS[:4], ())


def changed(index, value):
    inputs = INPUTS.copy()
    inputs[index] = value
    return inputs


def test_good_data_pass():
    check_data(GOOD, (3, 2), 4)
    check_data(GOOD, (None, 2), None)
    check_data(replace(GOOD, train_labels=LABELS % 2, test_labels=LABELS[:4] % 2), (3, 2), 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"train_inputs": changed((7, 1, 0), np.nan)}, "training inputs: nan at index (7, 1, 0)"),
        ({"test_inputs": changed((2, 0, 1), np.inf)[:4]}, "test inputs: inf at index (2, 0, 1)"),
        ({"train_inputs": INPUTS[:0], "train_labels": LABELS[:0]}, "no samples"),
        ({"train_inputs": np.ones_like(INPUTS)}, "every value is 1.0"),
        ({"train_inputs": INPUTS[..., :1]}, "samples of shape (3, 1), the model takes (3, 2)"),
        ({"train_inputs": INPUTS.astype(complex)}, "not numeric"),
        ({"train_inputs": INPUTS.astype("U4")}, "not numeric"),
        ({"train_labels": LABELS + 1}, "4 at index 3 is outside the model's classes 0..3"),
        ({"test_labels": LABELS[:4] - 1}, "test labels: -1 at index 0"),
    ],
)
def test_bad_data_are_refused_with_the_place(change, reason):
    with pytest.raises(DataError) as caught:
        check_data(replace(GOOD, **change), (3, 2), 4)

    assert reason in str(caught.value)


def test_shared_samples_are_counted_value_for_value():
    others = np.concatenate([INPUTS[2:5] + 1, INPUTS[:2]])

    assert shared_samples(INPUTS, others) == 2
    assert shared_samples(INPUTS, others.astype(np.float64)) == 2
    assert shared_samples(INPUTS, others[..., :1]) == 0


def test_a_split_takes_from_every_class_and_leaves_some_of_each():
    labels = np.array([0] * 50 + [1] * 5 + [2] * 2 + [3])

    chosen = stratified_split(labels, 0.2, seed=0)

    assert [int(chosen[labels == label].sum()) for label in range(4)] == [10, 1, 1, 0]
