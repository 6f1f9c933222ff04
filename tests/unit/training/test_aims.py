"""The mixture of labels and a teacher's outputs: smoothing, temperature, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.errors import StageError
from pipeline.samples import Samples
from pipeline.training.aims import Mixture, at_temperature, losses, mixed
from pipeline.training.fine_tuning import fine_tune
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training_config import TrainingConfig

TEMPERATURE, SHARE = 3.0, 0.75
LOGITS = np.array([[3.0, 0.0, -1.0], [40.0, -40.0, 1.0]], np.float32)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def sigmoid(logits):
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


@pytest.mark.parametrize(
    ("task", "classes", "targets", "expected"),
    [
        ("classification", 4, [0, 3], [[0.85, 0.05, 0.05, 0.05], [0.05, 0.05, 0.05, 0.85]]),
        ("binary", 1, [0, 1], [[0.1], [0.9]]),
        ("multi-label", 2, [[0, 1], [1, 1]], [[0.1, 0.9], [0.9, 0.9]]),
        ("regression", 2, [[0.0, 2.0], [1.0, 1.0]], [[0.0, 2.0], [1.0, 1.0]]),
    ],
)
def test_labels_are_smoothed_and_numbers_are_not(
    task, classes, targets, expected, tmp_path, store_dataset, prepared_model
):
    model = prepared_model(tmp_path, tasks=(task,), outputs=(Port("output", (classes,)),))
    inputs = np.zeros((2, 5), np.float32)
    data = store_dataset(tmp_path / "data", inputs, np.asarray(targets), task=task)
    samples = Samples.of(data, "train", model.preprocessing)

    [found] = mixed(model, samples, [inputs], None, Mixture(0.0, smoothing=0.2))

    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_probabilities_at_a_temperature_are_those_of_divided_logits():
    found = at_temperature(softmax(LOGITS), TEMPERATURE, sigmoid=False)
    alone = at_temperature(sigmoid(LOGITS), TEMPERATURE, sigmoid=True)

    np.testing.assert_allclose(found[0], softmax(LOGITS / TEMPERATURE)[0], atol=1e-6)
    np.testing.assert_allclose(alone[0], sigmoid(LOGITS / TEMPERATURE)[0], atol=1e-6)
    assert np.isfinite([found, alone]).all()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "linear"])
@pytest.mark.parametrize("notes_logits", [True, False])
def test_the_loss_compares_at_a_temperature_and_keeps_the_size_of_gradients(
    activation, notes_logits, tmp_path, prepared_model
):
    """Outputs are logits, or probabilities with or without Keras's note of their logits."""
    start_tensorflow(0)
    import tensorflow as tf

    task = "multi-label" if activation == "sigmoid" else "classification"
    ports = (Port("output", (3,), activation=activation),)
    model = prepared_model(tmp_path, tasks=(task,), outputs=ports, from_logits=(activation == "linear",))
    [loss] = losses(model, Mixture(SHARE, TEMPERATURE))
    labels, taught, logits = np.eye(3, dtype=np.float32)[[0, 2]], LOGITS, LOGITS[::-1] / 10
    function, squash = {"sigmoid": (tf.keras.activations.sigmoid, sigmoid)}.get(
        activation, (tf.keras.activations.softmax, softmax)
    )

    def cross_entropy(targets, found):
        if activation == "sigmoid":
            return -(targets * np.log(found) + (1 - targets) * np.log(1 - found)).mean(axis=-1)
        return -(targets * np.log(found)).sum(axis=-1)

    soft = squash(taught / TEMPERATURE)
    outputs = tf.constant(logits) if activation == "linear" else function(tf.constant(logits))
    if not notes_logits:
        outputs = tf.identity(outputs)
    found = loss.call(tf.constant(np.concatenate([labels, soft], axis=-1)), outputs)

    expected = (1 - SHARE) * cross_entropy(labels, squash(logits))
    expected += SHARE * TEMPERATURE**2 * cross_entropy(soft, squash(logits / TEMPERATURE))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.fixture
def trained(tmp_path, store_dataset, prepared_model):
    """A teacher whose classes have nothing to do with the labels, and what trains students of it."""
    start_tensorflow(1)
    import tf_keras

    layers = tf_keras.layers
    network = tf_keras.Sequential([layers.Input((5,)), layers.Dense(3, "softmax", name="class")])
    network.get_layer("class").kernel.assign(np.random.default_rng(1).normal(size=(5, 3)) * 2)
    save_model(network, tmp_path / "keras/model")
    model = prepared_model(tmp_path).keras
    values = np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32)
    data = store_dataset(tmp_path / "data", values, np.arange(120) % 3)

    def train(**settings):
        start_tensorflow(2)
        student = tf_keras.Sequential([layers.Input((5,)), layers.Dense(3, "softmax")])
        config = TrainingConfig(**{"epochs": 30, "min_steps": 1, "learning_rate": 0.1} | settings)
        fine_tune("train", student, model, data, config, 0)
        return student(values).numpy(), open_model(model.model)(values).numpy()

    return train


def test_at_a_high_temperature_a_student_learns_what_the_teacher_gives_all_classes(trained):
    student, teacher = trained(distillation=1.0, temperature=4.0)
    assert (student.argmax(axis=1) == teacher.argmax(axis=1)).mean() > 0.95
    assert np.abs(student - teacher).mean() < 0.05

    student, _ = trained(distillation=0.0)
    assert (student.argmax(axis=1) == teacher.argmax(axis=1)).mean() < 0.7


def test_smoothed_labels_make_a_student_less_sure(trained):
    sure, _ = trained(distillation=0.0)
    less_sure, _ = trained(distillation=0.0, label_smoothing=0.5)

    assert less_sure.max(axis=1).mean() < sure.max(axis=1).mean() - 0.01


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"label_smoothing": 0.1}, "label_smoothing suits outputs that are classes, not the task regression"),
        ({"temperature": 2.0}, "temperature suits outputs that are classes, not the task regression"),
        ({"patience": 2}, "patience compares scores on held-out samples, and there are none"),
    ],
)
def test_what_does_not_suit_the_model_or_the_data_is_refused(
    settings, problem, tmp_path, store_dataset, prepared_model
):
    start_tensorflow(0)
    import tf_keras

    network = tf_keras.Sequential([tf_keras.layers.Input((5,)), tf_keras.layers.Dense(1)])
    save_model(network, tmp_path / "keras/model")
    port = Port("size", (1,), activation="linear")
    model = prepared_model(tmp_path, tasks=("regression",), outputs=(port,), from_logits=(True,)).keras
    data = store_dataset(tmp_path / "data", np.zeros((6, 5)), np.zeros((6, 1)), task="regression")

    with pytest.raises(StageError, match=problem):
        fine_tune("train", network, model, data, TrainingConfig(min_steps=1, **settings), 0)
