"""In which order of the labels a model's outputs fit them best."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.tasks.label_order import is_beyond_luck, label_order, put_in_order


def sure(labels, classes, right=1.0, seed=0):
    """One-hot outputs that name the label in a share of the samples, else any class."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(labels)) < right, labels, rng.integers(0, classes, len(labels)))
    return np.eye(classes, dtype=np.float32)[said]


def thirds(count):
    return np.arange(count) % 3


@pytest.mark.parametrize("order", [(1, 2, 0), (0, 2, 1), (2, 1, 0)])
def test_labels_in_another_order_are_found(order):
    labels = thirds(300)
    assert label_order("classification", sure(np.array(order)[labels], 3, 0.9), labels) == order


def test_two_of_many_classes_that_are_exchanged_are_found():
    labels = np.arange(1000) % 50
    order = np.arange(50)
    order[[7, 8]] = 8, 7
    assert label_order("classification", sure(order[labels], 50, 0.95), labels) == tuple(order)


def test_exchanged_labels_of_one_sigmoid_are_found():
    labels = np.arange(60) % 2
    assert label_order("binary", (1 - labels)[:, None] * 0.8 + 0.1, labels) == (1, 0)


def test_an_inverted_mask_is_found():
    masks = (np.random.default_rng(0).random((40, 8, 8)) < 0.3).astype(np.int64)
    assert label_order("segmentation", 1.0 - masks[..., None], masks) == (1, 0)


def test_positions_without_a_class_are_left_out_of_the_order_of_a_mask():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (40, 16, 16))
    given = np.where(rng.random(masks.shape) < 0.6, -1, masks)

    assert label_order("segmentation", np.roll(np.eye(3)[masks], 1, axis=-1), given) == (1, 2, 0)
    assert (put_in_order("segmentation", given, (1, 2, 0))[given < 0] == -1).all()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [30, 300])
def test_a_weak_or_broken_model_has_no_other_order(seed, count):
    rng = np.random.default_rng(seed)
    labels = rng.choice(10, count, p=[0.4, 0.2, *[0.05] * 8])
    always = np.zeros(count, int) + 7

    assert label_order("classification", sure(labels, 10, 0.2, seed), labels) is None
    assert label_order("classification", sure(labels, 10, 0.0, seed), labels) is None
    assert label_order("classification", np.eye(10)[always], labels) is None


def test_a_broken_model_whose_answer_is_one_class_has_no_other_order_whichever_class_is_commonest():
    for seed in range(40):
        labels = np.random.default_rng(seed).integers(0, 3, 400)
        assert label_order("classification", np.eye(3)[np.full(400, seed % 3)], labels) is None


def beyond_luck(said, labels, classes, *, works):
    outputs = np.eye(classes, dtype=np.float32)[said]
    order = label_order("classification", outputs, labels)
    return order is not None and is_beyond_luck("classification", outputs, labels, order, works=works)


def answers_of(confusion, labels, rng):
    """Draw an answer to each label from its row of the confusion matrix."""
    return (rng.random(len(labels))[:, None] > np.cumsum(confusion, axis=1)[labels]).sum(axis=1)


@pytest.mark.parametrize("classes", [2, 3, 4, 6, 10])
def test_the_luck_of_a_model_that_is_not_trained_is_no_other_order(classes):
    lucky = fitting = 0
    for seed in range(200):
        rng = np.random.default_rng([classes, seed])
        labels = rng.integers(0, classes, rng.choice([40, 200, 1000]))
        confusion = rng.dirichlet(np.ones(classes), classes)
        said = answers_of(confusion, labels, rng)
        order = label_order("classification", np.eye(classes, dtype=np.float32)[said], labels)
        fitting += order is not None
        lucky += beyond_luck(said, labels, classes, works=False)
    assert lucky <= 4
    assert fitting > 10 * lucky


@pytest.mark.parametrize("classes", [3, 5, 10])
def test_a_barely_trained_model_whose_answers_crowd_in_a_few_classes_is_not_taken_at_its_word(classes):
    for seed in range(100):
        rng = np.random.default_rng([classes, seed])
        labels = rng.integers(0, classes, 600)
        confusion = 0.5 * np.eye(classes) + 0.5 * rng.dirichlet(np.full(classes, 0.3), classes)
        assert not beyond_luck(answers_of(confusion, labels, rng), labels, classes, works=True)


@pytest.mark.parametrize("classes", [2, 3, 5, 10, 50])
def test_the_labels_of_a_good_model_in_any_other_order_are_beyond_luck(classes):
    for seed in range(20):
        rng = np.random.default_rng([classes, seed])
        labels, order = rng.integers(0, classes, 40 * classes), rng.permutation(classes)
        if (order == np.arange(classes)).all():
            continue
        right = np.where(rng.random(len(labels)) < 0.93, labels, rng.integers(0, classes, len(labels)))
        outputs = np.eye(classes, dtype=np.float32)[order[right]]
        assert label_order("classification", outputs, labels) == tuple(order)
        assert beyond_luck(order[right], labels, classes, works=False)


@pytest.mark.parametrize("classes", [4, 10])
def test_two_labels_that_a_weak_but_working_model_exchanges_are_beyond_luck(classes):
    for seed in range(20):
        rng = np.random.default_rng([classes, seed])
        labels = rng.integers(0, classes, 100 * classes)
        right = np.where(rng.random(len(labels)) < 0.45, labels, rng.integers(0, classes, len(labels)))
        order = np.array([1, 0, *range(2, classes)])
        assert beyond_luck(order[right], labels, classes, works=True)


def rare_labels(count=600):
    return (np.random.default_rng(3).random((count, 5)) < 0.1).astype(np.int64)


def test_columns_of_several_labels_in_another_order_are_found():
    labels, order = rare_labels(), (4, 3, 2, 0, 1)
    outputs = put_in_order("multi-label", labels, order) * 0.8 + 0.1

    assert label_order("multi-label", outputs, labels) == order


@pytest.mark.parametrize("seed", range(10))
def test_weak_or_silent_outputs_for_several_labels_have_no_other_order(seed):
    labels, rng = rare_labels(), np.random.default_rng(seed)
    weak = np.where(rng.random(labels.shape) < 0.8, rng.permutation(labels), labels) * 0.8 + 0.1

    assert label_order("multi-label", weak, labels) is None
    assert label_order("multi-label", np.zeros(labels.shape), labels) is None


def test_a_class_that_is_mostly_taken_for_another_is_no_other_order():
    labels = thirds(600)
    said = np.where((labels == 1) & (np.arange(600) % 10 < 7), 2, labels)
    assert label_order("classification", np.eye(3)[said], labels) is None


def numbers(count=400, noise=0.3):
    rng = np.random.default_rng(5)
    targets = rng.normal(size=(count, 4)) * [1, 5, 20, 0.1] + [0, 50, -3, 7]
    return targets, targets + noise * targets.std(axis=0) * rng.normal(size=targets.shape)


def test_two_exchanged_columns_of_a_regression_are_found():
    targets, outputs = numbers()

    assert label_order("regression", outputs[:, [0, 2, 1, 3]], targets) == (0, 2, 1, 3)
    assert label_order("regression", outputs, targets) is None


def test_channels_of_images_in_another_order_are_found():
    images = np.random.default_rng(0).uniform(0, 1, (60, 6, 6, 3))

    assert label_order("regression", images[..., ::-1], images) == (2, 1, 0)
    assert (put_in_order("regression", images, (2, 1, 0)) == images[..., ::-1]).all()


def test_one_column_a_dead_channel_and_steps_that_resemble_each_other_have_no_other_order():
    targets, outputs = numbers(noise=2.0)
    walk = np.cumsum(np.random.default_rng(0).normal(size=(300, 12)), axis=1)
    last = np.repeat(walk[:, :1], 12, axis=1)

    assert label_order("regression", -targets[:, :1], targets[:, :1]) is None
    assert label_order("regression", outputs, targets) is None
    assert label_order("regression", np.where([1, 1, 0, 1], targets, 0.0), targets) is None
    assert label_order("regression", last, walk) is None
