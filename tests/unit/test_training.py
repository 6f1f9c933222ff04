"""Fine-tuning's own arithmetic, and that what it writes and trains is reproducible."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.artifacts import Dataset, FloatModel, Preprocessing
from pipeline.config import TrainingConfig
from pipeline.training import (
    choose_samples,
    fine_tune,
    open_model,
    probabilities,
    save_model,
    soft_targets,
    start_tensorflow,
    total_epochs,
    total_steps,
)

RAW = Preprocessing(scale=1.0, offset=0.0, reason="declared")
LOGITS = np.array([[2.0, 0.0, -1.0], [1000.0, -1000.0, 0.0]], np.float32)


def float_model(folder, **changes):
    facts = {
        "folder": folder,
        "input_shape": (5,),
        "output_shape": (3,),
        "task": "classification",
        "from_logits": False,
        "parameters": 1,
        "rewrites": (),
    }
    return FloatModel(**(facts | changes))


@pytest.fixture
def data(tmp_path):
    """Forty samples of five values in three classes."""
    (folder := tmp_path / "data").mkdir()
    data = Dataset(folder=folder, classes=("a", "b", "c"), train_samples=40, test_samples=0)
    labels = np.arange(40) % 3
    np.save(data.train_inputs, np.random.default_rng(0).normal(size=(40, 5)) + labels[:, None])
    np.save(data.train_labels, labels)
    return data


@pytest.fixture
def network(tmp_path):
    """Save a small network and return what later stages know of it."""
    start_tensorflow(3)
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Input((5,)), layers.Dense(8, "relu"), layers.Dense(3, "softmax")])
    save_model(model, tmp_path / "model/prepared")
    return float_model(tmp_path / "model")


def test_probabilities_of_logits_are_a_softmax_that_does_not_overflow(tmp_path):
    found = probabilities(LOGITS, float_model(tmp_path, from_logits=True))

    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found[0], np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum(), rtol=1e-6)
    np.testing.assert_array_equal(found[1], [1, 0, 0])


def test_a_binary_logit_is_a_sigmoid_and_probabilities_stay(tmp_path):
    binary = float_model(tmp_path, task="binary", from_logits=True, output_shape=(1,))
    np.testing.assert_allclose(probabilities(np.array([[0.0], [np.log(3)]]), binary), [[0.5], [0.75]])

    given = np.array([[0.2, 0.5, 0.3]], np.float32)
    assert probabilities(given, float_model(tmp_path)) is given


def test_samples_are_all_or_a_seeded_choice_in_order(data):
    np.testing.assert_array_equal(choose_samples(data, TrainingConfig(), 0), np.arange(40))
    np.testing.assert_array_equal(choose_samples(data, TrainingConfig(samples=99), 0), np.arange(40))
    one, same, other = (choose_samples(data, TrainingConfig(samples=8), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert len(np.unique(one)) == 8
    assert (np.diff(one) > 0).all()
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("samples", "expected"), [(1, 2), (32, 2), (33, 4), (64, 4)])
def test_the_last_batch_of_an_epoch_may_be_short(samples, expected):
    assert total_steps(samples, TrainingConfig(epochs=2, least_steps=1, batch_size=32)) == expected


def test_few_samples_are_passed_over_until_there_were_enough_steps():
    few = TrainingConfig(epochs=3, least_steps=500, batch_size=32)
    assert total_epochs(64, few) == 250
    assert total_steps(64, few) == 500
    assert total_epochs(11_000, few) == 3


def test_without_distillation_the_targets_are_the_labels_and_no_model_is_opened(tmp_path, data):
    chosen = np.array([0, 1, 5])

    found = soft_targets(float_model(tmp_path / "absent"), data, RAW, 0.0, chosen)
    binary = float_model(tmp_path / "absent", task="binary", output_shape=(1,))

    np.testing.assert_array_equal(found, np.eye(3)[[0, 1, 2]])
    np.testing.assert_array_equal(soft_targets(binary, data, RAW, 0.0, chosen[:2]), [[0], [1]])


def test_targets_mix_the_float_models_outputs_with_the_labels(network, data):
    chosen = np.arange(40)
    teacher = open_model(network.prepared).predict_on_batch(np.load(data.train_inputs).astype(np.float32))

    found = soft_targets(network, data, RAW, 0.25, chosen)

    labels = np.eye(3)[np.load(data.train_labels)]
    np.testing.assert_allclose(found, 0.25 * teacher + 0.75 * labels, atol=1e-6)


def test_equal_models_have_equal_bytes(network, tmp_path):
    model = open_model(network.prepared)
    save_model(model, tmp_path / "again")

    for name in ("architecture.json", "weights.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (network.prepared / name).read_bytes()


def trained(network, data, seed):
    start_tensorflow(seed)
    student = open_model(network.prepared)
    config = TrainingConfig(epochs=12, least_steps=1, batch_size=8, learning_rate=0.03, distillation=0.0)
    fine_tune("train", student, network, data, RAW, config, seed)
    return student


def test_training_learns_and_a_seed_makes_it_reproducible_to_the_bit(network, data, capfd):
    first, again, other = (trained(network, data, seed) for seed in (1, 1, 2))
    outputs = first.predict_on_batch(np.load(data.train_inputs).astype(np.float32))

    assert (outputs.argmax(axis=1) == np.load(data.train_labels)).mean() > 0.8
    for one, same in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])
    assert capfd.readouterr().out == ""
