"""Pruning: the sparsity that was asked for, in the layers that pay, and nothing else touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.compress.pruning import Pruning
from pipeline.compress.weights import prunable_layers, prune_weights
from pipeline.compress.weights_config import WeightsConfig
from pipeline.errors import StageError
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training_config import TrainingConfig
from pipeline.training_history import TrainingHistory

pytestmark = pytest.mark.xdist_group("pruning")  # one process trains what the tests share

TRAINING = TrainingConfig(epochs=2, min_steps=1, batch_size=16, learning_rate=1e-3)
CONFIG = WeightsConfig(sparsity=0.75, min_weights=0, training=TRAINING)


@pytest.fixture(scope="module")
def data(tmp_path_factory, store_dataset):
    labels = np.arange(64) % 2
    inputs = np.random.default_rng(0).normal(size=(64, 8, 8, 2)) + labels[:, None, None, None]
    return store_dataset(tmp_path_factory.mktemp("data"), inputs, labels)


@pytest.fixture(scope="module")
def network():
    """Kernels of 144, 2304 and 256 weights, a depthwise and a transposed one."""
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="small")(inputs)
    x = layers.Conv2D(32, 3, padding="same", use_bias=False, name="large")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(7, padding="same", name="depthwise")(x)
    x = layers.Conv2DTranspose(16, 3, padding="same", name="transposed")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x))


@pytest.fixture(scope="module")
def stored(network, store_network):
    return store_network(network)


def pruned(stored, data, folder, **changes):
    folder.mkdir()
    config = CONFIG.model_copy(update=changes)
    found = prune_weights(stored, stored, data, config=config, seed=0, out=folder)
    return found, open_model(found.model)


@pytest.fixture
def tried(stored, monkeypatch):
    """Sparsities that were trained, without the training."""
    found = []

    def prune(pruning, sparsity):
        found.append(sparsity)
        history = TrainingHistory(name="prune", curves=(), ranges=(), before=(), after=())
        return pruning.at_once(sparsity)._replace(history=history)

    monkeypatch.setattr(Pruning, "in_training", prune)
    return found


def record(model, name):
    return next(layer for layer in model.layers if layer.name == name)


def pruned_layers(model):
    return tuple(layer.name for layer in model.layers if "pruned" in layer.operations)


def test_only_large_convolutions_and_dense_layers_pay(network):
    assert prunable_layers(network) == ("large",)


@pytest.fixture(scope="module")
def twice(stored, data, tmp_path_factory):
    """Prune twice with one seed."""
    folder = tmp_path_factory.mktemp("twice")
    return [pruned(stored, data, folder / name) for name in ("one", "two")]


def test_every_pruned_kernel_has_the_share_of_zeros_that_was_asked(twice, network):
    found, model = twice[0]
    kernel = model.get_layer("large").kernel.numpy()

    assert pruned_layers(found) == ("large",)
    assert np.mean(kernel == 0) == pytest.approx(0.75, abs=0.001)
    assert found.zero_weights == np.count_nonzero(kernel == 0)
    assert np.count_nonzero(model.get_layer("small").kernel.numpy() == 0) == 0
    assert [layer.name for layer in model.layers] == [layer.name for layer in network.layers]


def test_the_same_seed_prunes_to_the_same_weights(twice):
    one, two = (model.get_weights() for _, model in twice)

    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_small_model_is_left_as_it_is_and_every_kernel_says_why(stored, data, network, tmp_path):
    found, model = pruned(stored, data, tmp_path / "out", min_weights=16384)

    assert (pruned_layers(found), found.zero_weights) == ((), 0)
    assert {layer.name: layer.reason for layer in found.layers if layer.reason} == {
        "small": "not pruned: its kernel has 144 weights, at least 1,000 are needed",
        "large": "not pruned: 2,304 weights in all, min_weights is 16,384",
        "depthwise": "not pruned: it has few weights per channel",
        "transposed": "not pruned: TF-MOT does not prune transposed convolutions",
        "class": "not pruned: its kernel has 32 weights, at least 1,000 are needed",
    }
    for ours, theirs in zip(model.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("losses", "zeros", "trained"),
    [
        ((5.0, 1.0, 2.0), 0.5625, (0.75, 0.375, 0.5625)),
        ((5.0, 1.0, 9.0), 0.375, (0.75, 0.375, 0.5625)),
        ((9.0, 4.0, 5.0), 0.0, (0.75, 0.375, 0.1875)),
        ((1.0,), 0.75, (0.75,)),
    ],
)
def test_a_model_that_does_not_bear_it_gets_the_highest_sparsity_found_that_it_bears(
    stored, data, tmp_path, monkeypatch, tried, losses, zeros, trained
):
    left = list(losses)

    monkeypatch.setattr("pipeline.compress.sparsity_search.lost_points", lambda *_: left.pop(0))

    found, model = pruned(stored, data, tmp_path / "out")

    assert tuple(tried) == trained
    assert np.mean(model.get_layer("large").kernel.numpy() == 0) == pytest.approx(zeros, abs=0.002)
    refused = [(each, lost) for each, lost in zip(trained, losses, strict=True) if lost > 3]
    assert found.notes == tuple(
        f"at {each:.0%} zeros the model lost {lost} points on held-out samples" for each, lost in refused
    )
    assert len(found.trainings) == bool(zeros)
    assert pruned_layers(found) == (("large",) if zeros else ())
    assert zeros or record(found, "large").reason == f"not pruned: {'; '.join(found.notes)}"


@pytest.mark.parametrize(
    ("borne_trained", "zeros", "trained"),
    [(0.7, 0.6, (0.6,)), (0.4, 0.3, (0.6, 0.3)), (0.1, 0.1875, (0.6, 0.3))],
)
def test_by_itself_a_model_gets_the_highest_sparsity_that_costs_nothing_measurable(
    stored, data, tmp_path, monkeypatch, tried, borne_trained, zeros, trained
):

    def bears(found):
        share = np.mean(found.student.get_layer("large").kernel.numpy() == 0)
        return "the model is worse", share <= (0.2 if found.history is None else borne_trained + 0.001)

    monkeypatch.setattr("pipeline.compress.sparsity_search._by_evidence", lambda _: bears)

    found, model = pruned(stored, data, tmp_path / "out", sparsity="auto")

    assert tuple(tried) == trained
    assert np.mean(model.get_layer("large").kernel.numpy() == 0) == pytest.approx(zeros, abs=0.001)
    assert len(found.trainings) == (zeros in trained)
    assert len(found.notes) == len(trained) - (zeros in trained)


@pytest.mark.parametrize(
    ("lost", "zeros", "note"),
    [
        (2.5, 0.9, "at the 90% zeros that are needed the model lost 2.5 points on held-out samples"),
        (
            3.5,
            0.0,
            "at the 90% zeros that are needed the model lost 3.5 points on held-out samples, more than",
        ),
    ],
)
def test_more_zeros_than_cost_nothing_are_taken_where_they_are_needed_and_cost_little(
    stored, data, tmp_path, monkeypatch, tried, lost, zeros, note
):
    nothing = lambda _: lambda student: ("the model is worse", False)  # noqa: E731
    monkeypatch.setattr("pipeline.compress.sparsity_search._by_evidence", nothing)
    monkeypatch.setattr("pipeline.compress.sparsity_search.lost_points", lambda *_: lost)

    found, model = pruned(stored, data, tmp_path / "out", sparsity="auto", min_sparsity=0.9)

    assert tried == [0.9]
    assert np.mean(model.get_layer("large").kernel.numpy() == 0) == pytest.approx(zeros, abs=0.001)
    assert found.notes[-1].startswith(note)


@pytest.fixture(scope="module")
def dense(store_network):
    """A model with dense kernels of 128x32 and 32x64 weights."""
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2))
    x = layers.Dense(32, activation="relu", name="first")(layers.Flatten(name="flat")(inputs))
    x = layers.Dense(64, activation="relu", name="second")(x)
    return store_network(tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x)))


def test_of_consecutive_inputs_of_each_output_the_largest_stay(dense, data, tmp_path):
    config = WeightsConfig(pattern="1:4", min_weights=0, training=TRAINING)
    (tmp_path / "out").mkdir()

    found = prune_weights(dense, dense, data, config=config, seed=0, out=tmp_path / "out")

    for name in ("first", "second"):
        kernel = open_model(found.model).get_layer(name).kernel.numpy()
        groups = kernel.T.reshape(kernel.shape[1], -1, 4)
        np.testing.assert_array_equal(np.count_nonzero(groups, axis=2), 1)
        assert record(found, name).sparsity == 0.75


def test_of_consecutive_channels_of_a_convolution_the_largest_stay(stored, data, tmp_path):
    config = WeightsConfig(pattern="2:4", min_weights=0, training=TRAINING)
    (tmp_path / "out").mkdir()

    found = prune_weights(stored, stored, data, config=config, seed=0, out=tmp_path / "out")

    kernel = open_model(found.model).get_layer("large").kernel.numpy()
    groups = kernel.transpose(3, 0, 1, 2).reshape(32, 3, 3, 2, 4)
    np.testing.assert_array_equal(np.count_nonzero(groups, axis=4), 2)


def test_blocks_of_a_dense_kernel_are_zero_as_a_whole(dense, data, tmp_path):
    _, model = pruned(dense, data, tmp_path / "out", pattern="2x4", amounts="uniform")

    kernel = model.get_layer("first").kernel.numpy()
    zeros = np.count_nonzero(kernel.reshape(64, 2, 8, 4) == 0, axis=(1, 3))
    assert set(zeros.ravel()) == {0, 8}
    assert np.mean(zeros == 8) == pytest.approx(0.75, abs=0.01)


def test_global_amounts_have_the_share_of_all_kernels_together(dense, data, tmp_path):
    found, model = pruned(dense, data, tmp_path / "out", amounts="global", sparsity=0.5)

    kernels = [model.get_layer(name).kernel.numpy() for name in ("first", "second")]
    zeros = sum(np.count_nonzero(kernel == 0) for kernel in kernels)
    assert zeros == pytest.approx(0.5 * sum(kernel.size for kernel in kernels), rel=0.01)
    assert record(found, "first").sparsity != pytest.approx(record(found, "second").sparsity, abs=0.01)


def test_a_pattern_and_few_weights_left_mean_the_same_share_everywhere():
    assert WeightsConfig(pattern="2:4").is_uniform
    assert WeightsConfig(sparsity=0.99).is_uniform
    assert not WeightsConfig().is_uniform


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "4:2"}, "first number has to be smaller"),
        ({"pattern": "2:4", "sparsity": 0.75}, "makes the sparsity 0.5; leave sparsity out"),
        ({"pattern": "2:4", "amounts": "sensitivity"}, 'cannot have patterns N:M; use "uniform"'),
        ({"amounts": "sensitivity", "sparsity": 0.99}, "cannot have a sparsity above 0.98"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        WeightsConfig(**settings)


def test_no_sparsity_leaves_the_model_as_it_was(stored, data, tmp_path):
    found, _ = pruned(stored, data, tmp_path / "out", sparsity=0.0)

    assert (pruned_layers(found), found.zero_weights) == ((), 0)
    kept = (tmp_path / "out/model/weights.npz").read_bytes()
    assert kept == (stored.model / "weights.npz").read_bytes()


def test_zeros_of_an_earlier_step_are_preserved_in_layers_that_are_not_pruned(
    stored, data, network, tmp_path
):
    start_tensorflow(0)
    sparse = open_model(stored.model)
    kernel = sparse.get_layer("small").kernel
    mask = np.arange(kernel.shape.num_elements()).reshape(kernel.shape) % 2
    kernel.assign(kernel * mask)
    save_model(sparse, tmp_path / "given/model")
    layers = tuple(
        replace(layer, operations=("halved",), weights=144, sparsity=0.5) if layer.name == "small" else layer
        for layer in stored.layers
    )
    given = replace(stored, folder=tmp_path / "given", layers=layers)
    (tmp_path / "out").mkdir()

    found = prune_weights(given, stored, data, config=CONFIG, seed=0, out=tmp_path / "out")

    zeros = open_model(found.model).get_layer("small").kernel.numpy() == 0
    np.testing.assert_array_equal(zeros, mask == 0)
    assert record(found, "small").operations == ("halved",)
    assert found.zero_weights == 72 + 1728


def test_clustered_weights_are_not_pruned(stored, data, tmp_path):
    clustered = tuple(replace(layer, clusters=16) for layer in stored.layers)

    with pytest.raises(StageError, match=r"has clustered weights, which pruning would undo; put method"):
        prune_weights(replace(stored, layers=clustered), stored, data, config=CONFIG, seed=0, out=tmp_path)
