"""Images whose labels are in a table."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from models.ports import Port

MODEL = {"inputs": [Port("x", (7, 9, 3))], "outputs": [Port("y", (3,), activation="softmax")]}
NAMES = ("ant", "bee", "cow")


@pytest.fixture
def shots(tmp_path):
    """Twelve images in a folder, of three classes by their brightness."""
    root = tmp_path / "set"

    def write(place, part=0):
        (root / place).mkdir(parents=True, exist_ok=True)
        for index in range(12):
            Image.new("RGB", (9, 7), (index % 3 * 100, part * 50, index)).save(
                root / place / f"s{index:02d}.png"
            )
        return root

    return write


def table(path, name="{}.png", label=lambda index: NAMES[index % 3], header="file,label", rows=range(12)):
    lines = [f"{name.format(f's{index:02d}')},{label(index)}" for index in rows]
    path.write_text("\n".join([header, *lines] if header else lines))


@pytest.mark.parametrize(
    ("place", "name", "header"),
    [
        ("images", "{}.png", "file,label"),
        ("images", "{}", "id,class"),
        ("images", "images/{}.png", "path,target"),
        ("images", "/home/someone/set/images/{}.png", "filename,species"),
        ("images", "{}.png", ""),
        (".", "{}.png", "image,breed"),
        ("wrapped/images", "images/{}.png", "image_id,category"),
        ("deep/er", "er/{}.png", "id,label"),
    ],
)
def test_a_table_labels_images_by_their_names(place, name, header, shots, load):
    root = shots(place)
    table(root / place.split("/images")[0].replace("images", ".") / "labels.csv", name, header=header)

    loaded = load(root, MODEL)

    assert loaded.data.class_names == NAMES
    np.testing.assert_array_equal(loaded.x[:, 0, 0, 0], loaded.y * 100)
    assert len(loaded.x) == 12


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_any_usual_separator_is_read(separator, shots, load):
    root = shots("images")
    table(root / "labels.csv")
    path = root / "labels.csv"
    path.write_text(path.read_text().replace(",", separator))

    assert load(root, MODEL).data.class_names == NAMES


def test_numbers_are_class_ids_and_not_words(shots, load):
    root = shots("images")
    table(root / "labels.csv", label=lambda index: index % 3)

    loaded = load(root, MODEL)

    np.testing.assert_array_equal(loaded.x[:, 0, 0, 0], loaded.y * 100)
    assert loaded.data.class_names == ()


def test_numbers_with_a_fraction_are_a_regression(shots, load):
    root = shots("images")
    table(root / "labels.csv", label=lambda index: index / 4)

    loaded = load(root, {**MODEL, "outputs": [Port("y", (1,), activation="linear")]})

    assert loaded.data.tasks == ("regression",)
    np.testing.assert_array_equal(loaded.x[:, 0, 0, 2], loaded.y.ravel() * 4)


def test_a_column_for_each_class_is_one_label(shots, load):
    root = shots("images")
    rows = [f"s{index:02d},{','.join(str(int(at == index % 3)) for at in range(3))}" for index in range(12)]
    (root / "truth.csv").write_text("\n".join(["image,MEL,NV,BCC", *rows]))

    loaded = load(root, MODEL)

    assert loaded.data.tasks == ("classification",)
    assert loaded.data.class_names == ("MEL", "NV", "BCC")
    np.testing.assert_array_equal(loaded.x[:, 0, 0, 0], loaded.y * 100)


@pytest.mark.parametrize("tables", [("train.csv", "test.csv"), ("train_labels.csv", "test_labels.csv")])
def test_each_part_has_its_table(tables, shots, load):
    root = shots("train")
    shots("test", part=1)
    for file in tables:
        table(root / file)

    loaded = load(root, MODEL)

    assert set(loaded.x[loaded.train][..., 1].ravel()) == {0}
    assert set(loaded.x[loaded.test][..., 1].ravel()) == {50}
    np.testing.assert_array_equal(loaded.x[:, 0, 0, 0], loaded.y * 100)


def test_a_test_without_labels_is_not_used_and_a_sample_submission_is_no_truth(shots, load):
    root = shots("train")
    shots("test", part=1)
    table(root / "train.csv")
    table(root / "sample_submission.csv", label=lambda index: "ant")
    (root / "test.csv").write_text("id\n" + "\n".join(f"s{index:02d}" for index in range(12)))

    loaded = load(root, MODEL)

    assert len(loaded.x) == 12
    assert set(loaded.x[..., 1].ravel()) == {0}
    assert "no test sample has a label: a part of the training samples is tested on" in loaded.data.notes


@pytest.mark.parametrize("how", ["folder", "column"])
def test_one_table_for_all_parts_is_divided(how, shots, load):
    root = shots("train" if how == "folder" else "images")
    if how == "folder":
        shots("test", part=1)
        rows = [f"{part}/s{at:02d}.png,{NAMES[at % 3]},x" for part in ("train", "test") for at in range(12)]
    else:
        rows = [f"s{at:02d}.png,{NAMES[at % 3]},{'test' if at > 8 else 'train'}" for at in range(12)]
    (root / "all.csv").write_text("\n".join(["file,label,split", *rows]))

    loaded = load(root, MODEL)

    assert len(loaded.test) == (12 if how == "folder" else 3)
    np.testing.assert_array_equal(loaded.x[:, 0, 0, 0], loaded.y * 100)


def test_images_to_test_on_may_be_labelled_by_a_table_beside_class_folders(shots, load):
    root = shots("Test", part=1)
    table(root / "Test.csv", name="Test/{}.png", label=lambda index: index % 3, header="Path,ClassId")
    for label in range(3):
        (root / "Train" / str(label)).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (9, 7), (label * 100, 0, index)).save(
                root / "Train" / str(label) / f"{index}.png"
            )

    loaded = load(root, MODEL)

    assert (len(loaded.train), len(loaded.test)) == (12, 12)
    np.testing.assert_array_equal(loaded.x[:, 0, 0, 0], loaded.y * 100)


def test_a_column_of_the_table_groups_images(shots, load):
    root = shots("images")
    rows = [f"s{at:02d}.png,{NAMES[at % 3]},p{at // 3}" for at in range(12)]
    (root / "labels.csv").write_text("\n".join(["file,label,patient", *rows]))

    loaded = load(root, MODEL, group="patient")

    patients = loaded.x[:, 0, 0, 2] // 3
    assert not set(patients[loaded.train]) & set(patients[loaded.test])
    assert len(loaded.test) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text + "\nnone.png,ant", "row 14: no image 'none.png' in the data set's folder"),
        (lambda text: text + "\ns01.png,ant", "row 14: s01.png has two different labels"),
        (lambda text: text.replace("s04.png,bee", "s04.png,"), "row 6: no label; fill it"),
        (lambda text: text.replace("s04.png,bee", "s04.png"), "row 6 has 1 cells, the first row 2"),
    ],
)
def test_a_row_that_labels_nothing_is_named(change, reason, shots, refusal):
    root = shots("images")
    table(root / "labels.csv")
    (root / "labels.csv").write_text(change((root / "labels.csv").read_text()))

    assert reason in refusal(root, MODEL)


def test_unclear_columns_and_two_tables_are_refused(shots, load, refusal):
    root = shots("images")
    (root / "labels.csv").write_text("f,a,b\n" + "\n".join(f"s{at:02d},{at % 3},2" for at in range(12)))

    assert "none is called label, class or target; name the one" in refusal(root, MODEL)
    assert len(load(root, MODEL, target=("a",)).x) == 12

    table(root / "labels.csv")
    table(root / "more.csv")
    assert "labels.csv and more.csv both label the images" in refusal(root, MODEL)


def test_images_that_the_table_does_not_name_are_counted(shots, load):
    root = shots("images")
    table(root / "labels.csv", rows=range(9))

    loaded = load(root, MODEL)

    assert len(loaded.x) == 9
    assert "3 images that labels.csv does not name are not used" in loaded.data.notes


def test_a_table_of_images_that_is_given_alone_asks_for_the_folder(shots, refusal):
    root = shots("images")
    table(root / "labels.csv")

    assert "it names images; give the folder" in refusal(root / "labels.csv", MODEL)
