"""Which folders are parts of the data, and which are left out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from models.data.layout import is_ignored, kind_of, scan
from models.ports import Port

TWO = [Port("y", (2,), activation="softmax")]


def model(*shape, outputs=TWO):
    return {"inputs": [Port("x", shape)], "outputs": outputs}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "train",
            [
                "train",
                "TRAIN",
                "Training",
                "training_set",
                "seg_train",
                "Train_data",
                "trainSet",
                "train2017",
            ],
        ),
        ("train", ["intel-train", "train images", "01_train", "Trainingset", "DataTrain"]),
        ("test", ["test", "Testing", "seg_test", "Test_data", "testset", "test-images", "test1"]),
        (
            "validation",
            ["val", "valid", "Validation", "Valid_data", "dev", "val2017", "validation_set", "eval"],
        ),
        (
            None,
            ["cat", "invalid", "contest", "restraint", "trains", "developer", "train_test", "retrained", ""],
        ),
    ],
)
def test_a_word_of_a_folders_name_says_which_part_it_is(kind, names):
    assert {name: kind_of(name) for name in names} == dict.fromkeys(names, kind)


def test_systems_leave_known_names():
    left = [".DS_Store", "._a.png", "__MACOSX", ".ipynb_checkpoints", "Thumbs.db", "desktop.ini", "@eaDir"]

    assert all(map(is_ignored, left))
    assert not any(map(is_ignored, ["cat", "_cat", "thumbs", "mac"]))


def test_a_link_to_a_folder_above_is_not_followed(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").touch()
    (tmp_path / "cat" / "again").symlink_to(tmp_path)

    tree = scan(tmp_path, [], [])

    assert list(tree.folders["cat"].all_files()) == [tmp_path / "cat" / "0.png"]


def test_a_link_to_another_folder_is_followed(tmp_path):
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "0.png").touch()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "shots")

    assert scan(tmp_path / "set", [], []).images() == [tmp_path / "set" / "cat" / "0.png"]


def put(place, colour, count=4):
    """Write images of one colour, the last of its numbers counting them."""
    place.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("RGB", (9, 7), (*colour, index * 20)).save(place / f"{index}.png")


@pytest.fixture
def parts(tmp_path):
    """Parts of a data set, each with class folders; the part is the second number of the colour."""

    def write(*names, classes=("cat", "dog")):
        for number, name in enumerate(names):
            for label, kind in enumerate(classes):
                put(tmp_path / "set" / name / kind, (label * 200, number * 50))
        return tmp_path / "set"

    return write


def part_of(loaded, rows):
    return set((loaded.x[rows][..., 1] // 50).ravel().tolist())


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("Train_data", "Test_data"),
        ("training", "testing"),
        ("Training", "Validation"),
        ("TRAIN", "VAL"),
        ("train", "valid"),
        ("trainset", "testset"),
        ("my train images", "my test images"),
        ("flowers-train-2019", "flowers-dev-2019"),
        ("trainingSet", "testSet"),
        ("data/train", "data/test"),
        ("data/flowers/train", "data/flowers/test"),
    ],
)
def test_folders_whose_names_say_a_part_are_no_classes(train, test, parts, load):
    loaded = load(parts(train, test), model(7, 9, 3))

    assert loaded.data.class_names == ("cat", "dog")
    assert (len(loaded.train), len(loaded.test)) == (8, 8)
    assert part_of(loaded, loaded.train) == {0}
    assert part_of(loaded, loaded.test) == {1}


def test_a_validation_beside_a_test_is_neither_trained_nor_tested_on(parts, load):
    loaded = load(parts("Train_data", "Test_data", "Valid_data"), model(7, 9, 3))

    assert part_of(loaded, loaded.train) == {0}
    assert part_of(loaded, loaded.test) == {1}


@pytest.mark.parametrize("test", ["test", "test/test", "test/unknown"])
def test_the_validation_takes_the_place_of_a_test_without_labels(test, parts, load):
    root = parts("train", "validation")
    put(root / test, (90, 250), count=5)

    loaded = load(root, model(7, 9, 3))

    assert part_of(loaded, loaded.test) == {1}
    assert loaded.data.class_names == ("cat", "dog")
    assert loaded.data.notes == ("validation is tested on: test has no labels",)


def test_a_test_without_labels_alone_leaves_a_part_of_the_training_to_test_on(parts, load):
    root = parts("train")
    put(root / "test", (90, 250))

    loaded = load(root, model(7, 9, 3))

    assert part_of(loaded, np.arange(8)) == {0}
    assert (len(loaded.train), len(loaded.test)) == (6, 2)
    assert "test without labels not used" in loaded.data.notes[0]


def test_a_class_called_train_is_a_class(parts, load):
    ports = model(7, 9, 3, outputs=[Port("y", (3,), activation="softmax")])

    assert load(parts("", classes=("bus", "train", "car")), ports).data.class_names == ("bus", "car", "train")


def test_a_part_inside_of_every_class_is_no_class(tmp_path, load):
    for label, name in enumerate(("cat", "dog")):
        for number, part in enumerate(("train", "test")):
            put(tmp_path / "set" / name / part, (label * 200, number * 50))

    loaded = load(tmp_path / "set", model(7, 9, 3))

    assert loaded.data.class_names == ("cat", "dog")
    assert part_of(loaded, loaded.test) == {1}


def test_folders_of_equal_folders_are_never_classes(parts, refusal):
    reason = refusal(parts("fold1", "fold2"), model(7, 9, 3))

    assert "fold1, fold2 hold the same folders (cat, dog), so they are not classes; name them train" in reason


def test_parts_without_one_to_train_on_are_refused(parts, refusal):
    reason = refusal(parts("test", "val"), model(7, 9, 3))

    assert "no folder to train on beside test, val; call one of them train" in reason


def test_two_parts_of_one_name_are_refused(parts, refusal):
    assert "train_1, train_2 are all parts called train" in refusal(
        parts("train_1", "train_2", "test"), model(7, 9, 3)
    )


def test_a_class_that_only_the_test_has_is_named(parts, refusal, load):
    root = parts("train", "test", classes=("cat", "dog"))
    put(root / "test" / "emu", (90, 90))

    assert "test: classes ['emu'] are not among those to train on" in refusal(root, model(7, 9, 3))


def test_class_ids_are_the_same_where_the_test_lacks_a_class(parts, load):
    root = parts("train", classes=("ant", "bee", "cow"))
    put(root / "test" / "cow", (77, 50))
    ports = model(7, 9, 3, outputs=[Port("y", (3,), activation="softmax")])
    put(root / "test" / "bee", (78, 50))

    loaded = load(root, ports)

    assert loaded.y[loaded.test].tolist() == [1] * 4 + [2] * 4
    assert any("test has no samples of ant" in note for note in loaded.data.notes)


def test_what_systems_leave_behind_is_ignored(folder, load):
    root = folder()
    for junk in ("__MACOSX/cat", ".ipynb_checkpoints", "cat/.ipynb_checkpoints", "@eaDir"):
        put(root / junk, (50, 50))
    for name in (".DS_Store", "Thumbs.db", "cat/.DS_Store", "cat/Thumbs.db", "cat/._0.png", "._x.png"):
        (root / name).write_bytes(b"\0\5\x16\7Mac OS X")
    (root / "empty").mkdir()

    loaded = load(root, model(7, 9, 3))

    assert len(loaded.x) == 8
    assert loaded.data.class_names == ("cat", "dog")
    assert loaded.data.notes == ("folders without a file: empty",)
    assert any("6 files and folders, such as ._0.png" in finding for finding in loaded.data.findings)


def test_an_empty_folder_counts_where_the_model_has_its_class(folder, load):
    root = folder()
    (root / "cow").mkdir()
    ports = model(7, 9, 3, outputs=[Port("y", (3,), activation="softmax")])

    loaded = load(root, ports)

    assert loaded.data.class_names == ("cat", "cow", "dog")  # as Keras counts them
    assert set(loaded.y) == {0, 2}


def test_images_beside_class_folders_are_said_to_be_unused(folder, load):
    root = folder()
    Image.new("RGB", (9, 7)).save(root / "preview.png")

    assert "1 images beside the class folders" in load(root, model(7, 9, 3)).data.notes[0]
