"""What the anomaly detector is judged by."""

from __future__ import annotations

import numpy as np

from models.zoo.autoencoder import NORMAL, anomalies, area_under_curve, data
from models.zoo.fashion_mnist import LABELS


def test_normal_is_footwear():
    assert [LABELS[i] for i in NORMAL] == ["Sandal", "Sneaker", "Ankle boot"]
    np.testing.assert_array_equal(anomalies(np.arange(10, dtype=np.uint8)), [1, 1, 1, 1, 1, 0, 1, 0, 1, 0])


def test_training_samples_are_normal_and_test_samples_are_both():
    x_train, y_train, x_test, y_test = data()

    assert x_train.shape == (3300, 28, 28, 1)
    assert not y_train.any()
    assert x_test.shape == (10_000, 28, 28, 1)
    assert y_test.sum() == 7000


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    scores = np.float32([0.1, 0.4, 0.35, 0.8])

    assert area_under_curve(scores, np.uint8([0, 0, 1, 1])) == 0.75
    assert area_under_curve(scores, np.uint8([1, 1, 0, 0])) == 0.25
    assert area_under_curve(np.float32([0.5, 0.5]), np.uint8([0, 1])) == 0.5
