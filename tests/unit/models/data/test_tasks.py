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
GREY = RNG.integers(0, 256, (N, 4, 5)).astype(np.uint8)
JPEG = np.where(MASKS > 0, 255 - GREY // 16, GREY // 16)

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
    "ids from 1": (IDS + 1, VECTOR, "softmax", "classification", IDS),
    "1 and 2": (BITS + 1, SCALAR, "sigmoid", "binary", BITS),
    "masks from 1": (MASKS + 1, MAP, "softmax", "segmentation", MASKS),
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
        ("ids from 1", "labels 1 to 3 were taken as 0 to 2"),
        ("masks from 1", "masks 1 to 3 were taken as 0 to 2"),
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
        (
            IDS,
            VECTOR,
            "softmax",
            ("segmentation",),
            "of shape (3,) has no positions, which segmentation needs",
        ),
        (MASKS[:, :3], MAP, "softmax", (), "shape (3, 5) a sample, the output 'out' gives (4, 5, 3)"),
        (None, VECTOR, "softmax", (), "no labels for the output 'out' of shape (3,)"),
        (None, VECTOR, "softmax", ("classification",), "no labels, which classification needs"),
        (IDS * 2, VECTOR, "softmax", (), 'labels = ["0", "2", "4"]'),
        (np.arange(N) % 9, (4,), "softmax", (), "the data has 9 classes (0..8), the model has 4"),
        (IDS * 2, (4,), "softmax", (), "renumber the labels from 0"),
        (np.arange(N) * 3, SCALAR, "sigmoid", (), "from 0 to 87 for the single sigmoid output"),
        (FLOATS[:, 0] * 100, SCALAR, "sigmoid", (), "which gives 0 to 1; scale the targets as they were"),
        (FLOATS * 9, VECTOR, "tanh", (), "for the tanh output 'out', which gives -1 to 1; scale"),
        (GREY[..., None], (4, 5, 1), "sigmoid", (), "(divide them by 255?)"),
        (JPEG, (4, 5, 1), "linear", (), "values near 0 and 255"),
        (JPEG, MAP, "softmax", (), "save masks without loss, as PNG"),
        (
            FLOATS[:, 0],
            IMAGE,
            "sigmoid",
            (),
            "targets of shape () a sample, the output 'out' gives (4, 5, 1)",
        ),
        (IDS - 1, VECTOR, "softmax", (), "the model has 3 (0..2): -1 at index 0"),
        (MASKS * 2, MAP, "softmax", (), "the model has 3 (0..2): "),
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

    message = refusal(npz(**arrays), ports)

    assert "test labels: the data has 5 classes" in message
    assert "the model has 3 (0..2): 10 at index 0" in message


def test_a_classifier_with_as_many_inputs_as_classes_is_no_autoencoder(npz, load):
    ports = {"inputs": [Port("in", (3,))], "outputs": [Port("out", (3,), activation="linear")]}

    assert load(npz(x=FLOATS, y=IDS), ports).data.tasks == ("classification",)


NUMBERS = RNG.random((N, 1)).astype(np.float32)
FEATURES = {
    "one feature, a sigmoid": ((1,), (1,), "sigmoid", BITS, "binary"),
    "one feature, a count": ((1,), (1,), "linear", np.arange(N), "regression"),
    "one feature, that number": ((1,), (1,), "linear", NUMBERS, "regression"),
    "two features, two logits": ((2,), (2,), "linear", BITS, "classification"),
    "two features, two words": ((2,), (2,), "linear", PAIR, "classification"),
    "features, as many logits": ((3,), (3,), "linear", IDS, "classification"),
    "features, as many logits, ids from 1": ((3,), (3,), "linear", IDS + 1, "classification"),
    "features, as many sigmoids": ((3,), (3,), "sigmoid", IDS, "classification"),
    "features, as many words": ((3,), (3,), "linear", WORDS, "classification"),
    "features, as many bits": ((3,), (3,), "sigmoid", FLOATS > 0.5, "multi-label"),
    "features, as many numbers": ((3,), (3,), "linear", FLOATS * 2, "regression"),
    "a series, a mask of it": ((6, 1), (6, 1), "sigmoid", np.tile(BITS[:, None], 6), "segmentation"),
    "a series, good or not": ((6, 1), (6, 1), "linear", BITS, "anomaly"),
}


@pytest.mark.parametrize("case", FEATURES)
def test_an_output_of_the_inputs_shape_with_labels_for_it_is_no_autoencoder(case, npz, load):
    taken, given, activation, labels, task = FEATURES[case]
    ports = {"inputs": [Port("in", taken)], "outputs": [Port("out", given, activation=activation)]}
    x = NUMBERS if case.endswith("that number") else RNG.random((N, *taken)).astype(np.float32)

    assert load(npz(x=x, y=labels), ports).data.tasks == (task,)


def test_several_inputs_are_no_autoencoder_unless_it_is_given(npz, load):
    ports = {
        "inputs": [Port("age", (1,)), Port("chol", (1,))],
        "outputs": [Port("out", (1,), activation="sigmoid")],
    }
    arrays = {"age": FLOATS[:, :1], "chol": FLOATS[:, 1:2], "y": BITS}

    loaded = load(npz(**arrays), ports)

    assert loaded.data.tasks == ("binary",)
    assert loaded.data.findings == ("task: binary (one sigmoid output, labels 0 and 1)",)
    assert load(npz(**arrays), ports, tasks=("anomaly",)).data.tasks == ("anomaly",)


def test_labels_of_a_vector_of_the_inputs_shape_are_refused_where_they_fit_two_tasks(npz, load, refusal):
    ports = {"inputs": [Port("in", (8,))], "outputs": [Port("out", (8,), activation="sigmoid")]}
    path = npz(x=RNG.random((N, 8)), y=BITS)

    assert 'give the task: "anomaly" (0 is normal)' in refusal(path, ports)
    assert load(path, ports, tasks=("anomaly",)).data.tasks == ("anomaly",)


def test_training_on_normal_samples_alone_shows_a_detector_of_anomalies(npz, load):
    ports = {"inputs": [Port("in", (8,))], "outputs": [Port("out", (8,), activation="sigmoid")]}
    x, labels = RNG.random((N, 8)), np.where(np.arange(N) < 20, 0, BITS)

    loaded = load(npz(x_train=x[:20], y_train=labels[:20], x_test=x[20:], y_test=labels[20:]), ports)

    assert loaded.data.tasks == ("anomaly",)
    assert "all training labels are 0" in loaded.data.findings[0]


def test_masks_stored_with_loss_are_thresholded_with_a_note(npz, load):
    ports = {"inputs": [Port("in", (4, 5, 3))], "outputs": [Port("out", IMAGE, activation="sigmoid")]}
    x = RNG.random((N, 4, 5, 3))

    loaded = load(npz(x=x, y=JPEG[..., None]), ports)

    assert loaded.data.tasks == ("segmentation",)
    np.testing.assert_array_equal(loaded.y, MASKS > 0)
    assert "masks with values from 0 to 255 were thresholded at 128" in loaded.data.notes
    given = load(npz(x=x, y=JPEG / np.float32(255)), ports, tasks=("segmentation",))
    np.testing.assert_array_equal(given.y, MASKS > 0)


def test_masks_or_images_of_the_inputs_shape_need_a_task(npz, load, refusal):
    ports = {"inputs": [Port("in", IMAGE)], "outputs": [Port("out", IMAGE, activation="sigmoid")]}
    path = npz(x=PICTURES, y=JPEG)

    assert "may be masks or images; give the task" in refusal(path, ports)
    np.testing.assert_array_equal(load(path, ports, tasks=("segmentation",)).y, MASKS > 0)


def test_labels_may_name_numbers_in_the_models_order(npz, load):
    ports = {"inputs": [Port("in", (5,))], "outputs": [Port("out", VECTOR, activation="softmax")]}

    loaded = load(npz(x=RNG.random((N, 5)), y=IDS * 10), ports, labels=("20", "0", "10"))

    np.testing.assert_array_equal(loaded.y, (IDS + 1) % 3)
    assert loaded.data.class_names == ("20", "0", "10")


def test_targets_a_little_beyond_the_activation_are_noted(npz, load):
    ports = {"inputs": [Port("in", (5,))], "outputs": [Port("out", SCALAR, activation="sigmoid")]}

    loaded = load(npz(x=RNG.random((N, 5)), y=FLOATS[:, 0] * 1.1 + 0.01), ports)

    assert any("the model cannot reach all of them" in note for note in loaded.data.notes)


def test_several_outputs_have_a_task_each(npz, load):
    outputs = [
        Port("kind", VECTOR, activation="softmax"),
        Port("size", SCALAR, activation="linear"),
        Port("picture", IMAGE, activation="sigmoid"),
    ]
    arrays = {"in": PICTURES, "kind": WORDS, "size": FLOATS[:, 0], "picture": PICTURES}

    loaded = load(npz(**arrays), {"inputs": [Port("in", IMAGE)], "outputs": outputs})

    assert loaded.data.tasks == ("classification", "regression", "reconstruction")
    assert loaded.data.findings[0] == (
        "task of 'kind': classification (3 softmax outputs, text labels of 3 classes)"
    )
    assert loaded.data.class_names == ("ant", "cat", "dog")


def test_open_shapes_are_matched(npz, load):
    ports = {
        "inputs": [Port("in", (None, None, 1))],
        "outputs": [Port("out", (None, None, 3), activation="softmax")],
    }

    assert load(npz(x=PICTURES, y=MASKS), ports).data.tasks == ("segmentation",)
