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
