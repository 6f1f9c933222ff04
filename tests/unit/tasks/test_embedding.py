"""Embeddings: the angle between both models' vectors, and whose neighbours they are."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import compare

from pipeline.tasks import embedding


@pytest.fixture
def clusters():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 4
    return rng.normal(size=(4, 16))[labels] * 2 + rng.normal(size=(120, 16)) * 0.3, labels


def test_the_primary_metric_is_the_mean_cosine_to_the_float_vector():
    baseline = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    quantized = np.array([[2.0, 0.0], [1.0, 1.0], [4.0, 3.0]])
    found = compare("embedding", baseline, quantized, None, seed=0)

    assert (found.primary.name, found.primary.baseline) == ("cosine to float", 100)
    assert found.primary.quantized == pytest.approx(100 * (1 + np.sqrt(0.5) + 0.96) / 3)
    assert [metric.name for metric in found.metrics] == ["cosine to float", "cosine to float, worst 1 %"]


def test_the_worst_vectors_are_shown_apart_from_the_mean(clusters):
    vectors, _ = clusters
    spoiled = vectors.copy()
    spoiled[:3] *= -1
    found = compare("embedding", vectors, spoiled, None, seed=0)

    assert found.primary.quantized == pytest.approx(95)
    assert found.metric("cosine to float, worst 1 %").quantized == pytest.approx(-100)


def test_vectors_of_zeros_agree_with_each_other_and_with_no_other():
    vectors = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    other = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])

    assert compare("embedding", vectors, other, None, seed=0).primary.quantized == pytest.approx(100 / 3)


def test_with_labels_the_nearest_neighbours_class_is_compared(clusters):
    vectors, labels = clusters
    mixed = vectors.copy()
    mixed[:12] = vectors[13:25]  # of the next class
    found = compare("embedding", vectors, mixed, labels, seed=0)
    metric = found.metric("nearest neighbour of the same class")

    assert metric.baseline == 100
    assert metric.quantized < 100
    assert metric.low < metric.difference < metric.high
    assert found.flips.right_to_wrong == round(-metric.difference * 1.2)
    assert found.note == ""


def test_of_many_samples_some_are_compared_as_neighbours(clusters, monkeypatch):
    vectors, labels = clusters
    monkeypatch.setattr(embedding, "MAX_NEIGHBOURS", 50)
    found = compare("embedding", vectors, vectors, labels, seed=0)
    metric = found.metric("nearest neighbour of the same class")

    assert metric.baseline == metric.quantized == 100
    assert metric.high == pytest.approx(2 * 100 * np.sqrt(0.5) / 50, rel=0.6)


def test_vectors_without_meaning_are_noted(clusters):
    vectors, labels = clusters
    same = np.ones_like(vectors)
    noise = np.random.default_rng(1).normal(size=vectors.shape)

    assert "the same vector" in compare("embedding", same, same, None, seed=0).note
    assert (
        "no more than a model that always answers with the most frequent class"
        in compare("embedding", noise, noise, np.sort(labels) // 3, seed=0).note
    )
    assert compare("embedding", vectors[:1], vectors[:1], labels[:1], seed=0).note == (
        "one sample has no neighbour"
    )
