"""Which samples are held out to choose between models."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from models.data.held_out import MAX_SAMPLES, MAX_SET_ASIDE, Kinship, hold_out, set_aside
from models.ports import Port

CLASSES = {"inputs": [Port("x", (5,))], "outputs": [Port("y", (3,), activation="softmax")]}
WINDOWS = {"inputs": [Port("x", (40,))], "outputs": [Port("y", (3,), activation="softmax")]}


def values(count, seed=0, size=5):
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def labels(count):
    return np.arange(count) % 3


def unrelated(count):
    rows = np.arange(count)
    return Kinship(np.zeros_like(rows), rows.astype(np.uint64), None, 0, by_time=False)


@pytest.fixture
def held_out(load, npz):
    """Load arrays, and return what was loaded."""

    def of(ports=CLASSES, **arrays):
        options = {name: arrays.pop(name) for name in ("split", "group") if name in arrays}
        return load(npz(**arrays), ports, **options)

    return of


def given(train=600, test=90, **more):
    return {
        "x_train": values(train), "y_train": labels(train), "x_test": values(test, 1), "y_test": labels(test),
        **more,
    }  # fmt: skip


def test_a_tenth_of_each_class_is_held_out_of_the_training_samples(held_out):
    found = held_out(**given())

    assert len(found.held_out) == 60
    assert np.bincount(found.y[found.held_out]).tolist() == [20, 20, 20]
    np.testing.assert_array_equal(np.union1d(found.fit, found.held_out), found.train)


def test_equal_samples_are_all_held_out_or_all_trained_on(held_out):
    x = np.repeat(values(300), 2, axis=0)
    found = held_out(**given(x_train=x, y_train=np.repeat(labels(300), 2)))

    assert len(found.held_out)
    assert not set(found.held_out // 2) & set(found.fit // 2)


@pytest.mark.parametrize(("count", "expected"), [(390, 0), (400, 40), (80_000, MAX_SAMPLES)])
def test_few_samples_are_all_trained_on_and_of_many_a_bounded_number_is_held_out(count, expected):
    fit, chosen = hold_out(np.arange(count), unrelated(count), seed=0)

    assert (len(fit), len(chosen)) == (count - expected, expected)


@pytest.mark.parametrize(("count", "expected"), [(117, 0), (120, 40), (60_000, MAX_SET_ASIDE)])
def test_a_third_of_the_test_samples_may_be_set_aside_but_no_more_than_choices_need(count, expected):
    aside, rest = set_aside(np.arange(count), np.zeros(count, bool), unrelated(count), seed=0)

    assert (len(aside), len(rest)) == (expected, count - expected)
    np.testing.assert_array_equal(np.union1d(aside, rest), np.arange(count))


def test_a_group_of_test_samples_is_set_aside_as_a_whole(held_out):
    people = 100 + np.arange(300) // 10
    found = held_out(**given(test=300, group_train=np.arange(600) // 20, group_test=people))

    assert len(found.aside)
    assert not set(people[found.aside - 600]) & set(people[found.rest - 600])


def test_a_class_of_one_test_sample_is_still_tested_on():
    kinship = unrelated(200)._replace(strata=np.minimum(np.arange(200), 20))
    aside, rest = set_aside(np.arange(200), np.zeros(200, bool), kinship, seed=0)

    assert len(aside) >= 40
    assert set(kinship.strata[rest]) == set(range(21))


@pytest.mark.parametrize(
    ("sizes", "expected"), [((190, 5, 5), 0), ((100, 100), 100), ((130, 35, 35), 70), ((200,), 67)]
)
def test_a_group_that_is_more_than_half_of_the_test_samples_is_not_set_aside(sizes, expected):
    kinship = unrelated(200)._replace(groups=np.repeat(np.arange(len(sizes)), sizes))
    aside, rest = set_aside(np.arange(200), np.zeros(200, bool), kinship, seed=0)

    assert (len(aside), len(rest)) == (expected, 200 - expected)


def test_anomalies_are_all_tested_on():
    anomalous = np.arange(300) % 3 == 0
    aside, rest = set_aside(np.arange(300), anomalous, unrelated(300), seed=0)

    assert len(aside) == 67
    assert not anomalous[aside].any()
    np.testing.assert_array_equal(np.union1d(aside, rest), np.arange(300))


@pytest.mark.parametrize("overlap", [9, 31])
@pytest.mark.parametrize("anomalous", [np.zeros(300, bool), np.arange(300) % 5 == 0, np.arange(300) < 10])
def test_windows_that_are_set_aside_share_no_values_with_those_that_are_tested_on(anomalous, overlap):
    kinship = unrelated(300)._replace(overlap=overlap)
    aside, rest = set_aside(np.arange(300), anomalous, kinship, seed=0)

    assert len(aside) >= 40
    assert not anomalous[aside].any()
    assert np.abs(rest[:, np.newaxis] - aside).min() == overlap + 1
    assert set(rest) == {row for row in range(300) if np.abs(row - aside).min() > overlap}


@pytest.mark.parametrize("anomalous", [np.arange(10_000) >= 5000, np.arange(10_000) < 5000])
def test_in_time_the_first_third_of_the_normal_samples_is_set_aside_wherever_the_anomalies_are(anomalous):
    kinship = unrelated(10_000)._replace(by_time=True)
    aside, rest = set_aside(np.arange(10_000), anomalous, kinship, seed=0)

    np.testing.assert_array_equal(aside, np.flatnonzero(~anomalous)[:1667])
    np.testing.assert_array_equal(rest, np.setdiff1d(np.arange(10_000), aside))


def test_nothing_is_set_aside_of_windows_that_overlap_too_much(held_out):
    signal = values(1, size=1700)[0]
    windows = np.stack([signal[at : at + 200] for at in range(1500)])
    found = held_out({**WINDOWS, "inputs": [Port("x", (200,))]}, x=windows, y=labels(1500), split="time")

    assert not len(found.aside)
    np.testing.assert_array_equal(found.rest, found.test)


def test_of_data_split_in_time_the_last_samples_are_still_tested_on(held_out):
    found = held_out(x=values(900), y=labels(900), split="time")

    assert found.train.max() < found.aside.min() < found.aside.max() < found.rest.min()


def test_no_test_samples_are_set_aside_beside_validation_samples(held_out):
    found = held_out(**given(test=300, x_val=values(50, 2), y_val=labels(50)))

    assert not len(found.aside)
    np.testing.assert_array_equal(found.rest, found.test)


def test_a_group_is_held_out_as_a_whole(held_out):
    people = np.arange(600) // 20
    found = held_out(**given(group_train=people, group_test=100 + np.arange(90) // 30))

    assert len(found.held_out)
    assert not set(people[found.held_out]) & set(people[found.fit])


def test_of_data_split_in_time_the_last_training_samples_are_held_out(held_out):
    found = held_out(x=values(600), y=labels(600), split="time")

    assert found.held_out.min() == found.fit.max() + 1
    assert found.held_out.max() == found.train.max() < found.test.min()


def test_of_overlapping_windows_whole_stretches_are_held_out(held_out):
    signal = values(1, size=4000)[0]
    windows = np.stack([signal[4 * at : 4 * at + 40] for at in range(900)])
    found = held_out(
        WINDOWS, x_train=windows, y_train=labels(900), x_test=values(90, 1, 40), y_test=labels(90)
    )

    stretches = np.split(found.held_out, np.flatnonzero(np.diff(found.held_out) > 1) + 1)
    assert len(found.held_out) >= 40
    assert min(map(len, stretches)) >= 50


def test_the_users_own_validation_samples_are_held_out_and_all_others_are_trained_on(held_out):
    found = held_out(**given(x_val=values(50, 2), y_val=labels(50)))

    np.testing.assert_array_equal(found.held_out, np.arange(690, 740))
    np.testing.assert_array_equal(found.fit, found.train)
    np.testing.assert_array_equal(found.test, np.arange(600, 690))
    assert "50 validation samples are held out to choose between models" in found.data.notes


def test_validation_samples_that_are_trained_or_tested_on_are_not_used_twice(held_out):
    arrays = given()
    both = np.concatenate([arrays["x_train"][:30], arrays["x_test"][:10], values(60, 2)])
    found = held_out(**arrays, x_val=both, y_val=np.concatenate([labels(30), labels(10), labels(60)]))

    np.testing.assert_array_equal(found.held_out, np.r_[690:720, 730:790])
    np.testing.assert_array_equal(found.fit, np.arange(30, 600))


def test_too_few_validation_samples_leave_the_choice_to_a_part_of_the_training_samples(held_out):
    found = held_out(**given(x_val=values(20, 2), y_val=labels(20)))

    assert found.held_out.max() < 600
    assert len(found.held_out) == 60


def test_validation_samples_are_tested_on_where_there_are_no_others(held_out):
    arrays = given()
    found = held_out(
        x_train=arrays["x_train"], y_train=arrays["y_train"], x_val=arrays["x_test"], y_val=arrays["y_test"]
    )

    np.testing.assert_array_equal(found.test, np.arange(600, 690))
    assert found.held_out.max() < 600


PHOTOS = {"inputs": [Port("x", (4, 4, 3))], "outputs": [Port("y", (2,), activation="softmax")]}
MASKED = {"inputs": [Port("x", (4, 4, 3))], "outputs": [Port("y", (4, 4, 2), activation="softmax")]}
COUNTS = {"train": 80, "test": 20, "val": 40}


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (number % 256, number // 256, 9)).save(path)


def class_folders(root):
    number = 0
    for part, count in COUNTS.items():
        for index in range(count):
            picture(root / part / ("cat", "dog")[index % 2] / f"{index}.png", number := number + 1)
    return root, PHOTOS


def labels_in_tables(root):
    number = 0
    for part, count in COUNTS.items():
        rows = [f"{part}{index}.png,{('cat', 'dog')[index % 2]}" for index in range(count)]
        for index in range(count):
            picture(root / f"{part}{index}.png", number := number + 1)
        (root / f"{part}.csv").write_text("\n".join(["file,label", *rows]))
    return root, PHOTOS


def masks(root):
    number = 0
    for part, count in COUNTS.items():
        for index in range(count):
            picture(root / part / "images" / f"{index}.png", number := number + 1)
            (root / part / "masks").mkdir(exist_ok=True)
            ids = np.uint8([[0, 1, 0, 1]] * 4)
            Image.fromarray(ids).save(root / part / "masks" / f"{index}.png")
    return root, MASKED


def tables(root):
    for seed, (part, count) in enumerate(COUNTS.items()):
        cells = np.column_stack([values(count, seed), labels(count)])
        np.savetxt(root / f"{part}.csv", cells, delimiter=",", header="a,b,c,d,e,label", comments="")
    return root, CLASSES


def program(root):
    (root / "mine.py").write_text(
        "import numpy as np\n"
        "def part(n, seed):\n"
        "    return np.random.default_rng(seed).normal(size=(n, 5)).astype('f'), np.arange(n) % 3\n"
        "def load():\n"
        "    return {'train': part(80, 0), 'val': part(40, 1), 'test': part(20, 2)}\n"
    )
    return f"{root / 'mine.py'}:load", CLASSES


@pytest.mark.parametrize("write", [class_folders, labels_in_tables, masks, tables, program])
def test_a_validation_part_in_any_form_is_held_out(write, tmp_path, load):
    source, ports = write(tmp_path)
    found = load(source, ports)

    np.testing.assert_array_equal(found.train, np.arange(80))
    np.testing.assert_array_equal(found.test, np.arange(80, 100))
    np.testing.assert_array_equal(found.held_out, np.arange(100, 140))
