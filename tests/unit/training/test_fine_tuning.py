"""Fine-tuning's own arithmetic, and that what it writes and trains is reproducible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.ports import Port
from pipeline.artifacts import Transform
from pipeline.samples import Samples
from pipeline.training.aims import Mixture, aims, losses, mixed, position_weights, probabilities
from pipeline.training.fine_tuning import fine_tune, total_epochs, total_steps, training_samples
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training_config import TrainingConfig

LOGITS = np.array([[2.0, 0.0, -1.0], [1000.0, -1000.0, 0.0]], np.float32)


@pytest.fixture
def data(tmp_path, store_dataset):
    """Forty samples of five values in three classes."""
    labels = np.arange(40) % 3
    inputs = np.random.default_rng(0).normal(size=(40, 5)) + labels[:, None]
    return store_dataset(tmp_path / "data", inputs, labels)


@pytest.fixture
def network(tmp_path, prepared_model):
    """Save a small network and return what later stages know of it."""
    start_tensorflow(3)
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Input((5,)), layers.Dense(8, "relu"), layers.Dense(3, "softmax")])
    save_model(model, tmp_path / "model/keras/model")
    return prepared_model(tmp_path / "model").keras


def samples_of(data, model):
    return Samples.of(data, "train", model.preprocessing)


def test_probabilities_of_logits_are_a_softmax_that_does_not_overflow():
    found = probabilities(LOGITS, "linear", "classification")

    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found[0], np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum(), rtol=1e-6)
    np.testing.assert_array_equal(found[1], [1, 0, 0])


@pytest.mark.parametrize("task", ["binary", "multi-label"])
def test_logits_that_stand_alone_are_a_sigmoid_each(task):
    found = probabilities(np.array([[0.0], [np.log(3)]], np.float32), "linear", task)

    np.testing.assert_allclose(found, [[0.5], [0.75]])


def test_samples_are_all_or_a_seeded_choice_in_order(data, network):
    def rows(seed=0, **config):
        return training_samples(data, network, TrainingConfig(**config), seed).rows

    np.testing.assert_array_equal(rows(), np.arange(40))
    np.testing.assert_array_equal(rows(samples=99), np.arange(40))
    one, same, other = (rows(seed, samples=8) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert len(np.unique(one)) == 8
    assert (np.diff(one) > 0).all()
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("samples", "expected"), [(1, 2), (32, 2), (33, 4), (64, 4)])
def test_an_epoch_has_as_many_batches_as_its_samples_begin(samples, expected):
    assert total_steps(samples, TrainingConfig(epochs=2, min_steps=1, batch_size=32)) == expected


def test_few_samples_are_passed_over_until_there_were_enough_steps():
    few = TrainingConfig(epochs=3, min_steps=500, batch_size=32)
    assert total_epochs(64, few) == 250
    assert total_steps(64, few) == 500
    assert total_epochs(11_000, few) == 3


def test_without_distillation_the_targets_are_the_labels_and_no_model_is_opened(
    tmp_path, data, prepared_model
):
    model = prepared_model(tmp_path / "absent")
    aim = aims(model, samples_of(data, model), Mixture(0.0))
    [found] = aim(np.array([0, 1, 5]), [])

    np.testing.assert_array_equal(found, np.eye(3)[[0, 1, 2]])


def test_targets_mix_the_float_models_outputs_with_the_labels(network, data):
    teacher = open_model(network.model).predict_on_batch(np.load(data.input(0)).astype(np.float32))

    [found] = aims(network, samples_of(data, network), Mixture(0.25))(np.arange(40), [])

    labels = np.eye(3)[np.load(data.target(0))]
    np.testing.assert_allclose(found, 0.25 * teacher + 0.75 * labels, atol=1e-6)


def test_targets_that_do_not_fit_in_memory_are_the_same_batch_by_batch(network, data, monkeypatch):
    samples, places = samples_of(data, network), np.array([3, 17, 5])
    [kept] = aims(network, samples, Mixture(0.25))(places, [])
    monkeypatch.setattr("pipeline.training.aims.KEPT_TARGET_BYTES", 0)
    [again] = aims(network, samples, Mixture(0.25))(places, samples.take(places).model_inputs())

    np.testing.assert_allclose(again, kept, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "shape", "target", "expected"),
    [
        ("regression", (2,), [[1.0, 2.0], [3.0, 4.0]], [[0.5, 1.0], [1.5, 2.0]]),
        ("multi-label", (3,), [[1, 0, 1], [0, 0, 1]], [[0.5, 0, 0.5], [0, 0, 0.5]]),
        ("binary", (1,), [1, 0], [[0.5], [0.0]]),
        ("segmentation", (2, 2), [[0, 1], [1, 1]], [[[0.5, 0], [0, 0.5]], [[0, 0.5], [0, 0.5]]]),
        ("anomaly", (5,), [0, 0], np.full((2, 5), 1.0)),
        ("reconstruction", (5,), None, np.full((2, 5), 1.0)),
        ("embedding", (4,), [7, 7], np.zeros((2, 4))),
    ],
)
def test_each_task_has_targets_of_its_own_form(
    task, shape, target, expected, tmp_path, store_dataset, prepared_model
):
    output = Port("output", shape, activation="linear")
    model = prepared_model(tmp_path, tasks=(task,), outputs=(output,))
    inputs = np.full((2, 5), 2.0, np.float32)
    data = store_dataset(tmp_path / "data", inputs, None if target is None else np.asarray(target), task=task)
    taught = [np.zeros((2, *shape), np.float32)]

    [found] = mixed(model, samples_of(data, model), [inputs], taught, Mixture(0.5))

    np.testing.assert_allclose(found, expected)


def test_equal_models_have_equal_bytes(network, tmp_path):
    model = open_model(network.model)
    save_model(model, tmp_path / "again")

    for name in ("architecture.json", "weights.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (network.model / name).read_bytes()


def trained(network, data, seed):
    start_tensorflow(seed)
    student = open_model(network.model)
    config = TrainingConfig(epochs=12, min_steps=1, batch_size=8, learning_rate=0.03, distillation=0.0)
    fine_tune("train", student, network, data, config, seed)
    return student


def test_training_learns_and_a_seed_makes_it_reproducible_to_the_bit(network, data, capfd):
    first, again, other = (trained(network, data, seed) for seed in (1, 1, 2))
    outputs = first.predict_on_batch(np.load(data.input(0)).astype(np.float32))

    assert (outputs.argmax(axis=1) == np.load(data.target(0))).mean() > 0.8
    for one, same in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])
    assert capfd.readouterr().out == ""


def test_every_batch_is_full_and_an_epoch_sees_every_sample(network, data, monkeypatch):
    start_tensorflow(0)
    student, seen = open_model(network.model), []
    train_on_batch = student.train_on_batch
    monkeypatch.setattr(
        student, "train_on_batch", lambda x, y, **given: seen.append(x) or train_on_batch(x, y, **given)
    )

    fine_tune("train", student, network, data, TrainingConfig(epochs=2, min_steps=1, batch_size=16), 0)

    assert [len(batch) for batch in seen] == [16] * 6
    for epoch in (seen[:3], seen[3:]):
        assert len(np.unique(np.concatenate(epoch), axis=0)) == 40


def test_several_inputs_and_outputs_are_trained_together(tmp_path, store_dataset, prepared_model):
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    one, two = layers.Input((5,)), layers.Input((2,))
    joined = layers.Concatenate()([one, two])
    outputs = [layers.Dense(3, "softmax")(joined), layers.Dense(1)(joined)]
    save_model(tf_keras.Model([one, two], outputs), tmp_path / "keras/model")
    model = prepared_model(
        tmp_path,
        inputs=(Port("one", (5,)), Port("two", (2,))),
        outputs=(Port("class", (3,), activation="softmax"), Port("size", (1,), activation="linear")),
        tasks=("classification", "regression"),
        from_logits=(False, True),
        preprocessing=(Transform(), Transform()),
    ).keras
    rng = np.random.default_rng(0)
    inputs, labels = [rng.normal(size=(60, 5)), rng.normal(size=(60, 2))], np.arange(60) % 3
    inputs[0] += labels[:, None]
    data = store_dataset(tmp_path / "data", inputs, labels)
    data = replace(data, tasks=("classification", "regression"))
    np.save(data.target(1), inputs[1].sum(axis=1, keepdims=True))
    student = open_model(model.model)
    config = TrainingConfig(epochs=40, min_steps=1, batch_size=10, learning_rate=0.03, distillation=0.0)
    fine_tune("train", student, model, data, config, 0)

    classes, sizes = student.predict_on_batch([array.astype(np.float32) for array in inputs])
    assert (classes.argmax(axis=1) == labels).mean() > 0.8
    np.testing.assert_allclose(sizes, np.load(data.target(1)), atol=0.3)


def test_positions_without_a_class_are_left_out_of_the_loss(tmp_path, store_dataset, prepared_model):
    import tf_keras

    ports = (Port("output", (2, 2, 3), activation="softmax"),)
    model = prepared_model(tmp_path, tasks=("segmentation",), outputs=ports)
    inputs = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    masks = np.array([[[0, 1], [-1, 2]], [[-1, -1], [1, 0]], [[2, 2], [2, 2]], [[-1, -1], [-1, -1]]])
    data = store_dataset(tmp_path / "data", inputs, masks, task="segmentation")
    samples = samples_of(data, model)
    network = tf_keras.Sequential(
        [tf_keras.layers.Dense(12), tf_keras.layers.Reshape((2, 2, 3)), tf_keras.layers.Softmax()]
    )
    network.compile("sgd", loss=losses(model))
    outputs = network(inputs).numpy()

    weights = position_weights(model, samples)
    aimed = mixed(model, samples, [inputs], None, Mixture(0.0))[0]
    loss = network.test_on_batch(inputs, aimed, sample_weight=weights)

    counts = masks >= 0
    of_label = np.take_along_axis(outputs, np.maximum(masks, 0)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(loss, -np.log(of_label[counts]).mean(), rtol=1e-5)
    assert position_weights(model, samples.take(np.array([2]))) is None
