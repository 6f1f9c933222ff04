"""Which samples are trained on and which are tested on."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.splits import bins, make_split, split_groups, without_shared
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


@pytest.mark.parametrize("shared", [3, 216, 800])
def test_training_samples_that_are_test_samples_are_left_out_of_training(shared, npz, load):
    held = np.concatenate([X[:shared], X[900:]]).astype(np.float64)  # another dtype hides nothing
    labels = np.concatenate([Y[:shared], Y[900:]])

    loaded = load(npz(x_train=X[:900], y_train=Y[:900], x_test=held, y_test=labels), MODEL)

    (note,) = loaded.data.notes
    assert note.startswith(f"leakage: {shared} of 900 training samples ({shared / 9:.1f} %) are also test")
    np.testing.assert_array_equal(loaded.train, np.arange(shared, 900))
    assert len(loaded.test) == shared + 100


def test_equal_inputs_with_another_label_are_left_out_too(npz, load):
    held, labels = np.concatenate([X[:9], X[900:]]), np.concatenate([(Y[:9] + 1) % 4, Y[900:]])

    loaded = load(npz(x_train=X[:900], y_train=Y[:900], x_test=held, y_test=labels), MODEL)

    np.testing.assert_array_equal(loaded.train, np.arange(9, 900))


def test_a_set_that_is_its_own_test_is_refused(npz, refusal):
    reason = refusal(npz(x_train=X[:900], y_train=Y[:900], x_test=X[:850], y_test=Y[:850]), MODEL)

    assert (
        "850 of 900 training samples are also test samples; without them 50 are left, at least 90" in reason
    )


def test_no_class_loses_all_its_training_samples():
    digests = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1], np.uint64)
    classes = np.array([0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0])

    with pytest.raises(DataError, match=r"1 of 10 .* and 1 classes would have none"):
        without_shared(np.arange(10), np.arange(10, 11), digests, classes)


def test_two_samples_a_class_have_to_be_left():
    digests = np.array([1, 2, 3, 4, 5, 6, 1, 2, 3], np.uint64)

    with pytest.raises(DataError, match=r"3 of 6 .* 3 are left, at least 4"):
        without_shared(np.arange(6), np.arange(6, 9), digests, np.array([0, 1] * 3 + [0, 1, 0]))


GROUPS = np.repeat(np.arange(50), 20)


def test_a_group_stays_on_one_side_and_every_class_is_on_both():
    train, test = split_groups(Y, GROUPS, 0.2, seed=0)

    assert not set(GROUPS[train]) & set(GROUPS[test])
    assert len(test) == 200
    assert set(Y[train]) == set(Y[test]) == {0, 1, 2, 3}


def test_groups_of_one_class_each_leave_every_class_to_train_on():
    classes = np.array([0] * 60 + [1] * 30 + [2] * 10)
    groups = np.array([at // 10 for at in range(100)])  # the last class is in one group alone

    for seed in range(20):
        train, test = split_groups(classes, groups, 0.2, seed=seed)
        assert set(classes[train]) == {0, 1, 2}
        assert len(test) == 20


@pytest.mark.parametrize(
    ("groups", "reason"),
    [([0] * 6, "all samples are of one group"), (range(6), "each sample is a group of its own")],
)
def test_groups_that_group_nothing_are_refused(groups, reason):
    with pytest.raises(DataError, match=reason):
        split_groups(np.zeros(6, int), np.array(groups), 0.2, seed=0)


def test_two_groups_of_one_class_each_cannot_be_split():
    with pytest.raises(DataError, match="2 groups cannot be split so that every class is trained on"):
        split_groups(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 0.2, seed=0)


@pytest.mark.parametrize(("name", "options"), [("subject", {"group": "subject"}), ("groups", {})])
def test_an_array_of_groups_keeps_them_on_one_side(name, options, npz, load):
    words = np.array([f"s{group}" for group in GROUPS])

    loaded = load(npz(x=X, y=Y, **{name: words}), MODEL, **options)

    assert not set(words[loaded.train]) & set(words[loaded.test])
    assert loaded.data.notes == ("10 of 50 groups, 200 of 1000 samples, are test samples",)


def test_groups_in_both_given_parts_are_named(npz, load):
    given = {"x_train": X[:900], "y_train": Y[:900], "x_test": X[900:], "y_test": Y[900:]}

    loaded = load(npz(**given, who_train=GROUPS[:900], who_test=GROUPS[90:190]), MODEL, group="who")

    assert any(
        "leakage: 6 groups are in both the training and the test" in note for note in loaded.data.notes
    )


@pytest.mark.parametrize("kept", [{}, {"subject": GROUPS[:9]}])
def test_groups_that_are_not_there_or_do_not_fit_are_refused(kept, npz, refusal):
    reason = refusal(npz(x=X, y=Y, **kept), MODEL, group="subject")

    assert (
        "groups of shape (9,) for 1000 samples" in reason
        if kept
        else "no array 'subject' of groups" in reason
    )


def test_a_column_of_groups_is_no_input(tmp_path, load, refusal):
    path = tmp_path / "data.csv"
    rows = [f"{a},{b},{c},{d},{y},s{g}" for (a, b, c, d), y, g in zip(X, Y, GROUPS, strict=True)]
    path.write_text("\n".join(["a,b,c,d,kind,subject", *rows]))

    loaded = load(path, MODEL, group="subject")

    np.testing.assert_array_equal(loaded.x, X)
    np.testing.assert_array_equal(loaded.y, Y)
    assert not set(GROUPS[loaded.train]) & set(GROUPS[loaded.test])
    assert "no column 'person'" in refusal(path, MODEL, group="person")


def test_a_source_without_groups_is_refused_where_they_are_named(tmp_path, refusal):
    np.save(tmp_path / "x.npy", X)

    reason = refusal(tmp_path / "x.npy", {**MODEL, "outputs": [Port("r", (4,))]}, group="subject")

    assert "has no group 'subject'; give a table with that column" in reason


def windows(step, length=32, count=400):
    """Windows of one recording."""
    signal = np.cumsum(RNG.standard_normal((step * count + length, 2)), axis=0).astype(np.float32)
    return np.stack([signal[at * step : at * step + length] for at in range(count)])


SERIES = {"inputs": [Port("x", (32, 2))], "outputs": [Port("y", (4,), activation="softmax")]}


def test_a_split_in_time_tests_on_the_last_samples_and_leaves_a_gap(npz, load):
    loaded = load(npz(x=windows(8), y=Y[:400]), SERIES, split="time", test_fraction=0.25)

    np.testing.assert_array_equal(loaded.test, np.arange(300, 400))
    np.testing.assert_array_equal(loaded.train, np.arange(297))
    assert loaded.data.notes == ("3 samples that overlap the first of the test samples were left out",)


def test_a_split_in_time_of_separate_samples_has_no_gap(npz, load):
    loaded = load(npz(x=X, y=Y), MODEL, split="time", test_fraction=0.25)

    np.testing.assert_array_equal(loaded.train, np.arange(750))
    assert loaded.data.notes == ()


@pytest.mark.parametrize(
    ("labels", "reason"),
    [(np.sort(Y), "sorts them by class"), (Y * (np.arange(1000) > 800), "no training sample of class 1")],
)
def test_a_split_in_time_of_samples_in_the_order_of_their_classes_is_refused(labels, reason, npz, refusal):
    assert reason in refusal(npz(x=X, y=labels), MODEL, split="time")


def test_a_split_in_time_of_a_given_split_is_said_to_be_unused(npz, load):
    given = {"x_train": X[:900], "y_train": Y[:900], "x_test": X[900:], "y_test": Y[900:]}

    assert "is not used: the data has test samples" in load(npz(**given), MODEL, split="time").data.notes[0]


@pytest.mark.parametrize("step", [4, 16, 24])
def test_a_random_split_of_overlapping_windows_is_pointed_out(step, npz, load):
    loaded = load(npz(x=windows(step), y=Y[:400]), SERIES)

    assert f"each begins {step} of 32 steps after the one before it" in loaded.data.notes[0]
    assert load(npz(x=windows(step)[::-1][::7], y=Y[: -(-400 // 7)]), SERIES).data.notes == ()


@pytest.mark.parametrize("values", [RNG.standard_normal((400, 32, 2)), np.eye(400, 64).reshape(400, 32, 2)])
def test_windows_that_do_not_overlap_are_not(values, npz, load):
    notes = load(npz(x=values.astype(np.float32), y=Y[:400]), SERIES).data.notes

    assert not any("overlap" in note for note in notes)


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
