"""Which samples are trained on and which are tested on."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.splits import bins, make_split, without_shared
from models.errors import DataError
from models.ports import Port

RNG = np.random.default_rng(0)
X = RNG.random((1000, 4)).astype(np.float32)
Y = np.arange(1000) % 4
MODEL = {"inputs": [Port("x", (4,))], "outputs": [Port("y", (4,), activation="softmax")]}


def test_a_split_takes_from_every_class_and_leaves_some_of_each():
    strata = np.array([0] * 50 + [1] * 5 + [2] * 2 + [3])

    train, test = make_split(strata, np.arange(58, dtype=np.uint64), 0.2, seed=0)

    assert np.bincount(strata[test], minlength=4).tolist() == [10, 1, 1, 0]
    np.testing.assert_array_equal(np.union1d(train, test), np.arange(58))


def test_equal_samples_stay_on_one_side():
    digests = np.repeat(np.arange(50, dtype=np.uint64), 3)

    train, test = make_split(np.zeros(150, int), digests, 0.3, seed=0)

    assert not set(digests[train]) & set(digests[test])
    assert len(test) == 45


def test_samples_of_one_class_each_are_split_all_the_same():
    train, test = make_split(np.arange(10), np.arange(10, dtype=np.uint64), 0.2, seed=0)

    assert (len(train), len(test)) == (8, 2)


def test_equal_samples_alone_cannot_be_split():
    with pytest.raises(DataError, match="1 different samples cannot be split"):
        make_split(np.zeros(5, int), np.zeros(5, np.uint64), 0.2, seed=0)


def test_numbers_are_split_by_tenths():
    assert np.bincount(bins(np.arange(100) ** 2)).tolist() == [10] * 10


def test_a_made_split_is_seeded_and_by_class(npz, load):
    path = npz(x=X, y=Y)

    first, same, other = (load(path, MODEL, seed=seed, test_fraction=0.1) for seed in (1, 1, 2))

    assert np.bincount(Y[first.test]).tolist() == [25] * 4
    np.testing.assert_array_equal(first.test, same.test)
    assert not np.array_equal(first.test, other.test)


def test_the_test_of_a_regression_spans_all_targets(npz, load):
    ports = {"inputs": [Port("x", (4,))], "outputs": [Port("y", (1,), activation="linear")]}
    price = np.exp(np.linspace(0, 9, 1000))

    loaded = load(npz(x=X, y=price), ports)

    assert np.histogram(np.log(price[loaded.test]), 10, (0, 9))[0].tolist() == [20] * 10


def test_few_training_samples_that_are_test_samples_are_left_out(npz, load):
    held = np.concatenate([X[:3], X[900:]])
    labels = np.concatenate([Y[:3], Y[900:]])

    loaded = load(npz(x_train=X[:900], y_train=Y[:900], x_test=held, y_test=labels), MODEL)

    assert loaded.data.notes == ("3 training samples are also test samples and were left out",)
    np.testing.assert_array_equal(loaded.train, np.arange(3, 900))
    assert len(loaded.test) == 103


def test_many_shared_samples_are_a_wrong_split(npz, refusal):
    held = np.concatenate([X[:20], X[900:]]).astype(np.float64)  # another dtype hides nothing
    labels = np.concatenate([Y[:20], Y[900:]])

    reason = refusal(npz(x_train=X[:900], y_train=Y[:900], x_test=held, y_test=labels), MODEL)

    assert "20 of 900 training samples are also test samples" in reason


def test_a_tenth_of_a_small_set_is_not_few():
    digests = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2], np.uint64)

    with pytest.raises(DataError, match="2 of 10"):
        without_shared(np.arange(10), np.arange(10, 12), digests)


def test_a_sample_is_equal_only_if_all_its_inputs_are(npz, load):
    ports = {"inputs": [Port("a", (4,)), Port("b", (1,))], "outputs": MODEL["outputs"]}
    arrays = {"a_train": X[:500], "b_train": X[:500, :1], "y_train": Y[:500]}
    held = {"a_test": X[:500], "b_test": X[500:, :1], "y_test": Y[500:]}

    assert load(npz(**arrays, **held), ports).data.notes == ()


def test_anomalies_are_tested_on_only(npz, load):
    ports = {"inputs": [Port("x", (4,))], "outputs": [Port("r", (4,))]}
    labels = (np.arange(1000) % 10 == 0).astype(int)

    made = load(npz(x=X, y=labels), ports, tasks=("anomaly",))
    parts = npz(x_train=X[:500], y_train=labels[:500], x_test=X[500:], y_test=labels[500:])
    given = load(parts, ports, tasks=("anomaly",))

    assert labels[made.train].sum() == labels[given.train].sum() == 0
    assert labels[made.test].sum() == 100
    assert (len(made.train), len(given.train), len(given.test)) == (720, 450, 500)
    assert any("were left out" in note for note in given.data.notes)
