"""The order and names of classes."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.targets import normal_class, order_words
from models.errors import DataError
from models.ports import Port

X = np.random.default_rng(0).random((12, 4))
WORDS = np.array(["dog", "ant", "cat"] * 4)
MODEL = {"inputs": [Port("x", (4,))], "outputs": [Port("y", (3,), activation="softmax")]}


@pytest.mark.parametrize(
    ("words", "known", "given", "names"),
    [
        (("b", "a"), (), (), ("a", "b")),
        (("b", "a"), ("b", "a", "c"), (), ("b", "a", "c")),
        (("b", "a"), ("a", "b"), ("b", "a"), ("b", "a")),
        (("2", "1"), ("1", "2"), ("one", "two"), ("1", "2")),
    ],
)
def test_the_order_is_the_users_or_the_sources_or_the_alphabets(words, known, given, names):
    assert order_words(words, known, given) == names


def test_a_class_that_was_left_out_is_named():
    with pytest.raises(DataError, match="leave out 'c'"):
        order_words(("a", "b", "c"), (), ("a", "b"))


@pytest.mark.parametrize(
    ("names", "given", "only", "normal"),
    [
        (("bad", "good"), (), None, 1),
        (("bad", "fine"), (), 0, 0),
        (("bad", "fine"), (), None, None),
        (("fine", "bad"), ("fine", "bad"), None, 0),
        ((), (), 1, None),
    ],
)
def test_the_normal_class_is_found_by_order_name_or_training_samples(names, given, only, normal):
    assert normal_class(names, given, only) == normal


def test_the_users_order_of_classes_decides_about_the_ids(npz, load):
    loaded = load(npz(x=X, y=WORDS), MODEL, labels=("dog", "cat", "ant"))

    assert loaded.data.class_names == ("dog", "cat", "ant")
    np.testing.assert_array_equal(loaded.y[:3], [0, 2, 1])


def test_classes_that_the_data_lack_keep_their_place(npz, load):
    ports = {"inputs": MODEL["inputs"], "outputs": [Port("y", (4,), activation="softmax")]}

    loaded = load(npz(x=X, y=WORDS), ports, labels=("bee", "ant", "cat", "dog"))

    np.testing.assert_array_equal(loaded.y[:3], [3, 1, 2])


def test_names_may_be_given_to_ids(npz, load, refusal):
    path = npz(x=X, y=np.arange(12) % 3)

    assert load(path, MODEL, labels=("a", "b", "c")).data.class_names == ("a", "b", "c")
    assert "2 class names (a, b) for 3 classes" in refusal(path, MODEL, labels=("a", "b"))


def test_names_are_those_of_the_first_output_with_classes(npz, load):
    outputs = [
        Port("size", (1,), activation="linear"),
        Port("kind", (3,), activation="softmax"),
        Port("other", (3,), activation="softmax"),
    ]
    arrays = {"x": X, "size": X[:, 0], "kind": WORDS, "other": np.array(["p", "q", "r"] * 4)}

    loaded = load(
        npz(**arrays), {"inputs": MODEL["inputs"], "outputs": outputs}, labels=("dog", "cat", "ant")
    )

    assert loaded.data.class_names == ("dog", "cat", "ant")
    np.testing.assert_array_equal(loaded.targets[1][:3], [0, 2, 1])
    np.testing.assert_array_equal(loaded.targets[2][:3], [0, 1, 2])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a\nb", r"the name of class 1, 'a\nb', has a character that cannot be printed; rename the class"),
        ("\x1b[2J", "has a character that cannot be printed"),
        ("\0", "has a character that cannot be printed"),
        ("\u202eb", "has a character that cannot be printed"),
        (" ", "the name of class 1, ' ', is empty"),
        ("ant", "classes 0 and 1 are both named 'ant'; give each a name of its own in labels"),
    ],
)
def test_class_names_that_a_list_of_labels_cannot_hold_are_refused(name, problem, npz, refusal):
    assert problem in refusal(npz(x=X, y=np.arange(len(X)) % 3), MODEL, labels=("ant", name, "cat"))


VOID = np.array([[[0, 1], [255, 2]], [[1, 2], [255, 0]], [[2, 1], [0, 1]], [[0, 0], [1, 2]]])


def masks_of(output, masks, load, npz, **options):
    x = np.random.default_rng(0).random((len(masks), 2, 2, 3)).astype(np.float32)
    ports = {"inputs": [Port("x", (2, 2, 3))], "outputs": [output]}
    return load(npz(x=x, y=masks), ports, **options)


@pytest.mark.parametrize(
    ("output", "masks", "options"),
    [
        (Port("m", (2, 2, 3), activation="softmax"), VOID, {}),
        (Port("m", (2, 2, 3), activation="softmax"), VOID[..., None].astype(np.uint8), {}),
        (Port("m", (2, 2, 3), activation="softmax"), np.where(VOID == 255, 9, VOID), {"ignore": 9}),
        (Port("m", (2, 2, 3), activation="softmax"), np.where(VOID == 255, -1, VOID), {"ignore": -1}),
        (Port("m", (2, 2, 3), activation="softmax"), np.where(VOID == 255, 0, VOID + 1), {"ignore": 0}),
        (Port("m", (2, 2, 3), activation="softmax"), np.where(VOID == 255, 255, VOID + 1), {}),
        (Port("m", (2, 2, 3)), VOID, {"ignore": 255}),
    ],
)
def test_a_value_of_masks_that_is_no_class_is_left_out(output, masks, options, load, npz):
    loaded = masks_of(output, masks, load, npz, **options)

    assert loaded.data.tasks == ("segmentation",)
    np.testing.assert_array_equal(loaded.y, np.where(VOID == 255, -1, VOID))
    assert any("in masks is not a class: its positions are left out" in note for note in loaded.data.notes)


@pytest.mark.parametrize("classes", [1, 2])
def test_a_third_value_beside_two_classes_is_left_out_but_255_alone_is_the_foreground(classes, load, npz):
    output = Port("m", (2, 2, classes), activation="sigmoid" if classes == 1 else "softmax")
    border = np.where(VOID == 2, 1, VOID)

    loaded = masks_of(output, border, load, npz)
    painted = masks_of(output, np.where(VOID > 0, 255, 0), load, npz)

    np.testing.assert_array_equal(loaded.y, np.where(border == 255, -1, border))
    np.testing.assert_array_equal(painted.y, VOID > 0)


def test_masks_of_nothing_but_the_ignored_value_are_refused(load, npz):
    with pytest.raises(DataError, match="every position of the masks is 255"):
        masks_of(Port("m", (2, 2, 3)), np.full_like(VOID, 255), load, npz, ignore=255)


def test_another_value_outside_the_classes_is_still_refused(load, npz, refusal):
    with pytest.raises(DataError, match=r"254 at index .*, the model has \d+ \(0\.\."):
        masks_of(Port("m", (2, 2, 3), activation="softmax"), np.where(VOID == 255, 254, VOID), load, npz)
