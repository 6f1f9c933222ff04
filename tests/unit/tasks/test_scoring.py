"""How outputs stand against the best constant answer."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.tasks.scoring import against_chance, score_of


def sure(labels, classes, right=1.0, seed=0):
    """One-hot outputs that name the label in a share of the samples, else any class."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(labels)) < right, labels, rng.integers(0, classes, len(labels)))
    return np.eye(classes, dtype=np.float32)[said]


def standing(task, outputs, target, inputs=None):
    found = against_chance(task, outputs, outputs if inputs is None else inputs, target)
    return found.standing if found else None


def thirds(count):
    return np.arange(count) % 3


def test_a_classifier_that_guesses_is_at_chance():
    labels = thirds(600)
    assert standing("classification", sure(labels, 3, right=0.0), labels) == "at chance"


def test_a_classifier_that_is_always_wrong_is_at_chance():
    labels = thirds(600)
    found = against_chance("classification", np.eye(3)[(labels + 1) % 3], None, labels)

    assert (found.score, found.standing) == (0.0, "at chance")
    assert "accuracy 0.0% on 600 test samples, the best constant answer (always class 0) has 33.3%" in str(
        found
    )


@pytest.mark.parametrize(("count", "right"), [(30, 0.6), (200, 0.3), (2000, 0.2)])
def test_a_weak_classifier_is_not_at_chance(count, right):
    labels = thirds(count)
    assert standing("classification", sure(labels, 3, right), labels) in {"better", "unclear"}


def test_sixty_percent_of_three_classes_on_thirty_samples_is_better_than_chance():
    labels = thirds(30)
    said = np.where(np.arange(30) < 18, labels, (labels + 1) % 3)
    assert standing("classification", np.eye(3)[said], labels) == "better"


def test_few_samples_clearly_above_chance_are_unclear():
    labels = np.array([0, 1, 0, 1, 0, 1])
    assert standing("classification", np.eye(2)[[0, 1, 0, 1, 1, 1]], labels) == "unclear"


def test_a_rare_class_that_is_found_is_better_than_the_commonest_class_alone():
    rng = np.random.default_rng(0)
    labels = (rng.random(1000) < 0.05).astype(int)
    said = np.where(labels == 1, rng.random(1000) < 0.8, rng.random(1000) < 0.15)
    outputs = said.astype(np.float32)[:, None]
    found = against_chance("binary", outputs, None, labels)

    assert found.score < found.chance
    assert found.standing == "better"


def test_a_detector_of_a_rare_class_that_only_ranks_is_unclear():
    rng = np.random.default_rng(0)
    labels = (rng.random(1000) < 0.05).astype(int)
    outputs = (0.1 + 0.1 * labels + 0.05 * rng.random(1000))[:, None]
    assert standing("binary", outputs, labels) == "unclear"


def test_the_constant_answer_of_a_broken_model_is_at_chance_whatever_its_class():
    labels = (np.arange(1000) % 20 == 0).astype(int)
    for answer in (0.1, 0.9):
        assert standing("binary", np.full((1000, 1), answer), labels) == "at chance"


def test_one_class_alone_tells_nothing():
    assert standing("classification", np.eye(3)[np.zeros(50, int)], np.zeros(50, int)) is None


def test_rare_labels_that_are_found_are_better_than_none_at_all():
    rng = np.random.default_rng(0)
    labels = (rng.random((500, 8)) < 0.06).astype(np.uint8)
    found = np.where(labels == 1, rng.random(labels.shape) < 0.7, rng.random(labels.shape) < 0.1)

    assert standing("multi-label", found.astype(np.float32), labels) == "better"
    assert standing("multi-label", rng.random(labels.shape), labels) == "at chance"


def test_a_mask_of_little_foreground_is_judged_by_both_classes():
    rng = np.random.default_rng(0)
    masks = (rng.random((40, 16, 16)) < 0.05).astype(np.int64)
    found = np.where(masks == 1, 0.9, 0.1)[..., None]

    assert standing("segmentation", found, masks) == "better"
    assert standing("segmentation", np.full((40, 16, 16, 1), 0.1), masks) == "at chance"


def test_positions_without_a_class_say_nothing_of_a_mask():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (40, 16, 16))
    found = np.eye(3)[masks]
    hidden = rng.random(masks.shape) < 0.6
    hidden[0] = True
    given = np.where(hidden, -1, masks)
    wrong = np.where(hidden[..., None], np.roll(found, 1, axis=-1), found)

    assert score_of("segmentation", wrong, masks, given) == 1
    assert standing("segmentation", wrong, given) == "better"
    assert score_of("segmentation", wrong, masks, np.full_like(masks, -1)) is None
    assert against_chance("segmentation", wrong, masks, np.full_like(masks, -1)) is None


def test_a_regression_below_the_mean_is_at_chance_and_another_unit_is_named():
    target = np.linspace(20, 200, 300, dtype=np.float32)[:, None]
    found = against_chance("regression", (target - 110) / 52, None, target)

    assert found.standing == "at chance"
    assert "in another unit?" in found.hint
    assert standing("regression", target + 5, target) == "better"


def test_a_channel_that_is_dead_does_not_make_the_others_chance():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(300, 4)) * [1, 100, 1, 1]
    outputs = target + rng.normal(size=target.shape) * 0.1
    outputs[:, 1] = 500

    assert standing("regression", outputs, target) == "better"
    assert score_of("regression", outputs, None, target) == pytest.approx(0.5, abs=0.05)


def test_an_autoencoder_that_explains_nothing_is_at_chance():
    rng = np.random.default_rng(0)
    inputs = rng.random((200, 16))
    assert standing("reconstruction", np.full_like(inputs, 0.6), None, inputs) == "at chance"
    assert standing("reconstruction", inputs * 0.9, None, inputs) == "better"


def test_a_detector_that_rebuilds_anomalies_as_well_is_at_chance_and_exchanged_labels_are_named():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    inputs = rng.random((200, 16))
    noise = rng.normal(size=inputs.shape)

    assert standing("anomaly", inputs + noise * 0.1, labels, inputs) == "at chance"
    assert standing("anomaly", inputs + noise * (0.1 + labels[:, None]), labels, inputs) == "better"
    found = against_chance("anomaly", inputs + noise * (1.1 - labels[:, None]), inputs, labels)
    assert "exchanged" in found.hint
