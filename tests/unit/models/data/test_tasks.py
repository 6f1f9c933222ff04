"""What an output is for, told from its targets."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port

RNG = np.random.default_rng(0)
N = 30
IDS = np.arange(N) % 3
BITS = np.arange(N) % 2
MASKS = RNG.integers(0, 3, (N, 4, 5))
FLOATS = RNG.random((N, 3)).astype(np.float32)
PICTURES = RNG.random((N, 4, 5, 1)).astype(np.float32)
ONE_HOT = np.eye(3)[IDS]
WORDS = np.array(["dog", "ant", "cat"])[IDS]
PAIR = np.array(["no", "yes"])[BITS]
SIGNS = BITS * 2 - 1

VECTOR, SCALAR, IMAGE, MAP = (3,), (1,), (4, 5, 1), (4, 5, 3)

CASES = {
    "ids": (IDS, VECTOR, "softmax", "classification", IDS),
    "ids as a column": (IDS[:, None], VECTOR, "softmax", "classification", IDS),
    "ids as floats": (IDS.astype(np.float32), VECTOR, "softmax", "classification", IDS),
    "ids for logits": (IDS.astype(np.uint8), VECTOR, "linear", "classification", IDS),
    "ids for sigmoids": (IDS, VECTOR, "sigmoid", "classification", IDS),
    "one-hot": (ONE_HOT, VECTOR, "softmax", "classification", IDS),
    "one-hot bool": (ONE_HOT.astype(bool), VECTOR, "softmax", "classification", IDS),
    "one-hot for logits": (ONE_HOT.astype(np.float32), VECTOR, "linear", "classification", IDS),
    "smoothed": (ONE_HOT * 0.85 + 0.05, VECTOR, "linear", "classification", IDS),
    "words": (WORDS, VECTOR, "softmax", "classification", (IDS + 2) % 3),
    "0 and 1": (BITS, SCALAR, "sigmoid", "binary", BITS),
    "bool": (BITS.astype(bool)[:, None], SCALAR, "sigmoid", "binary", BITS),
    "0 and 1 for a logit": (BITS.astype(float), SCALAR, "linear", "binary", BITS),
    "-1 and 1": (SIGNS, SCALAR, "tanh", "binary", BITS),
    "two words": (PAIR, SCALAR, "sigmoid", "binary", BITS),
    "two columns for one output": (np.eye(2)[BITS], SCALAR, "sigmoid", "binary", BITS),
    "several bits": (FLOATS > 0.5, VECTOR, "sigmoid", "multi-label", (FLOATS > 0.5).astype(np.uint8)),
    "numbers": (FLOATS, VECTOR, "linear", "regression", FLOATS),
    "numbers with a channel": (FLOATS[..., None], VECTOR, "linear", "regression", FLOATS),
    "one number": (FLOATS[:, 0], SCALAR, "linear", "regression", FLOATS[:, :1]),
    "counts": (np.arange(N), SCALAR, "linear", "regression", np.arange(N)[:, None]),
    "shares for a sigmoid": (FLOATS[:, 0], SCALAR, "sigmoid", "regression", FLOATS[:, :1]),
    "the input": (PICTURES, IMAGE, "sigmoid", "reconstruction", None),
    "nothing": (None, IMAGE, "sigmoid", "reconstruction", None),
    "clean pictures": (PICTURES * 0.5, IMAGE, "sigmoid", "regression", PICTURES * 0.5),
    "anomalies": (BITS, IMAGE, "sigmoid", "anomaly", BITS),
    "classes for an autoencoder": (IDS, IMAGE, "sigmoid", "reconstruction", None),
    "normal by its name": (np.array(["odd", "good", "torn"])[IDS], IMAGE, "sigmoid", "anomaly", IDS != 1),
    "masks": (MASKS, MAP, "softmax", "segmentation", MASKS),
    "masks with a channel": (MASKS[..., None], MAP, "softmax", "segmentation", MASKS),
    "one-hot masks": (np.eye(3, dtype=np.uint8)[MASKS], MAP, "softmax", "segmentation", MASKS),
    "painted masks": ((MASKS > 0) * np.uint8(255), IMAGE, "sigmoid", "segmentation", MASKS > 0),
    "nothing for a vector": (None, (8,), "linear", "embedding", None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_task_follows_from_output_and_targets(case, npz, load):
    labels, shape, activation, task, stored = CASES[case]
    ports = {"inputs": [Port("in", IMAGE)], "outputs": [Port("out", shape, activation=activation)]}
    arrays = {"x": PICTURES} if labels is None else {"x": PICTURES, "y": labels}

    loaded = load(npz(**arrays), ports)

    assert loaded.data.tasks == (task,)
    if stored is None:
        assert loaded.targets == []
    else:
        np.testing.assert_array_equal(loaded.y, stored)
        wanted = {"multi-label": np.uint8, "regression": np.float32}.get(task, np.int64)
        assert loaded.y.dtype == wanted


@pytest.mark.parametrize(
    ("case", "note"),
    [
        ("-1 and 1", "taken as 0 and 1"),
        ("classes for an autoencoder", "label normal samples 0"),
        ("anomalies", "only normal ones are trained on"),
        ("nothing for a vector", "compared as embeddings"),
    ],
)
def test_what_may_surprise_is_noted(case, note, npz, load):
    labels, shape, activation, _, _ = CASES[case]
    ports = {"inputs": [Port("in", IMAGE)], "outputs": [Port("out", shape, activation=activation)]}
    arrays = {"x": PICTURES} if labels is None else {"x": PICTURES, "y": labels}

    assert any(note in line for line in load(npz(**arrays), ports).data.notes)


@pytest.mark.parametrize(
    ("labels", "shape", "activation", "task", "stored"),
    [
        (IDS, (8,), "linear", "embedding", IDS),
        (IDS * 100, (8,), "linear", "embedding", IDS * 100),
        (BITS, SCALAR, "sigmoid", "regression", BITS[:, None]),
        (ONE_HOT, VECTOR, "sigmoid", "multi-label", ONE_HOT),
        (IDS, IMAGE, "sigmoid", "anomaly", IDS > 0),
        (BITS, IMAGE, "sigmoid", "reconstruction", None),
    ],
)
def test_a_task_that_is_said_is_taken(labels, shape, activation, task, stored, npz, load):
    ports = {"inputs": [Port("in", IMAGE)], "outputs": [Port("out", shape, activation=activation)]}

    loaded = load(npz(x=PICTURES, y=labels), ports, tasks=(task,))

    assert loaded.data.tasks == (task,)
    if stored is not None:
        np.testing.assert_array_equal(loaded.y, stored)


@pytest.mark.parametrize(
    ("labels", "shape", "activation", "tasks", "reason"),
    [
        (IDS, SCALAR, "sigmoid", (), "from 0 to 2 for the single sigmoid output 'out'; give 0 and 1"),
        (FLOATS[:, 0], VECTOR, "softmax", (), "the output 'out' gives 3; give class ids"),
        (FLOATS, VECTOR, "softmax", (), "for the softmax output 'out'"),
        (FLOATS[:, :2], VECTOR, "linear", (), "targets of shape (2,) a sample, the output 'out' gives (3,)"),
        (MASKS[:, :3], MAP, "softmax", (), "shape (3, 5) a sample, the output 'out' gives (4, 5, 3)"),
        (None, VECTOR, "softmax", (), "no labels for the output 'out' of shape (3,)"),
        (None, VECTOR, "softmax", ("classification",), "no labels, which classification needs"),
        (IDS + 1, VECTOR, "softmax", (), "3 at index 2 is outside the model's classes 0..2"),
        (IDS - 1, VECTOR, "softmax", (), "-1 at index 0 is outside the model's classes 0..2"),
        (MASKS + 1, MAP, "softmax", (), "is outside the model's classes 0..2"),
        (FLOATS, VECTOR, "sigmoid", ("multi-label",), "none of multi-label; give rows of 3 zeros and ones"),
        (IDS, SCALAR, "sigmoid", ("binary",), "none of binary; give 0 and 1"),
        (FLOATS[:, 0], VECTOR, "softmax", ("classification",), "give integer ids or one-hot rows"),
        (WORDS, (4,), "softmax", (), "3 class names (ant, cat, dog) for 4 classes of 'out'"),
        (WORDS, SCALAR, "sigmoid", (), "3 class names (ant, cat, dog) for 2 classes of 'out'"),
        (np.where(IDS == 2, np.nan, IDS), VECTOR, "softmax", (), "training labels: nan at index (2,)"),
        (np.where(IDS == 1, np.inf, IDS), SCALAR, "linear", (), "training labels: inf at index (1,)"),
        (np.stack([WORDS, WORDS], 1), VECTOR, "softmax", (), "one label for each sample"),
    ],
)
def test_targets_that_contradict_the_model_are_refused(
    labels, shape, activation, tasks, reason, npz, refusal
):
    ports = {"inputs": [Port("in", IMAGE)], "outputs": [Port("out", shape, activation=activation)]}
    arrays = {"x": PICTURES} if labels is None else {"x": PICTURES, "y": labels}

    assert reason in refusal(npz(**arrays), ports, tasks=tasks)


def test_a_label_outside_the_classes_is_placed_in_its_part(npz, refusal):
    ports = {"inputs": [Port("in", IMAGE)], "outputs": [Port("out", VECTOR, activation="softmax")]}
    arrays = {"x_train": PICTURES[:20], "y_train": IDS[:20], "x_test": PICTURES[20:], "y_test": IDS[20:] * 5}

    assert "test labels: 10 at index 0 is outside" in refusal(npz(**arrays), ports)


def test_a_classifier_with_as_many_inputs_as_classes_is_no_autoencoder(npz, load):
    ports = {"inputs": [Port("in", (3,))], "outputs": [Port("out", (3,), activation="linear")]}

    assert load(npz(x=FLOATS, y=IDS), ports).data.tasks == ("classification",)


def test_several_outputs_have_a_task_each(npz, load):
    outputs = [
        Port("kind", VECTOR, activation="softmax"),
        Port("size", SCALAR, activation="linear"),
        Port("picture", IMAGE, activation="sigmoid"),
    ]
    arrays = {"in": PICTURES, "kind": WORDS, "size": FLOATS[:, 0], "picture": PICTURES}

    loaded = load(npz(**arrays), {"inputs": [Port("in", IMAGE)], "outputs": outputs})

    assert loaded.data.tasks == ("classification", "regression", "reconstruction")
    assert loaded.data.class_names == ("ant", "cat", "dog")


def test_open_shapes_are_matched(npz, load):
    ports = {
        "inputs": [Port("in", (None, None, 1))],
        "outputs": [Port("out", (None, None, 3), activation="softmax")],
    }

    assert load(npz(x=PICTURES, y=MASKS), ports).data.tasks == ("segmentation",)
