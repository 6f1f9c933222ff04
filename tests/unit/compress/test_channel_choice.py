"""Which channels go, how many, and what the step makes of a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from models.ports import Port
from models.prepare import graph_of
from pipeline.compress.channel_budget import Cost, full_counts, with_counts, within_budget
from pipeline.compress.channel_criteria import Measured, scores_of
from pipeline.compress.channel_graph import ChannelGraph
from pipeline.compress.channels import ChannelsConfig, remove_channels
from pipeline.errors import StageError
from pipeline.layer_records import LayerRecord
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training_config import TrainingConfig
from pipeline.training_history import TrainingHistory

pytestmark = pytest.mark.xdist_group("channels")  # one process trains what the tests share

RNG = np.random.default_rng(0)
TRAINING = TrainingConfig(epochs=1, min_steps=4, batch_size=16, learning_rate=1e-3)


@pytest.fixture(scope="module")
def network():
    """Two convolutions with 16 and 24 channels, the first with batch normalization, and a dense layer."""
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="c1")(inputs)
    x = layers.ReLU(name="r1")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu", name="c2")(x)
    x = layers.Dense(12, activation="relu", name="hidden")(layers.GlobalAveragePooling2D(name="mean")(x))
    model = tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x))
    rng = np.random.default_rng(0)
    model.get_layer("norm").gamma.assign(rng.uniform(0.1, 1, 16))
    model.get_layer("norm").beta.assign(rng.uniform(-0.5, 0.5, 16))
    kernel = model.get_layer("c2").kernel
    kernel.assign(kernel * (np.arange(16) % 4 > 0)[:, None])
    return model


@pytest.fixture(scope="module")
def data(tmp_path_factory, store_dataset):
    labels = np.arange(64) % 2
    inputs = np.random.default_rng(0).normal(size=(64, 8, 8, 2)) + labels[:, None, None, None]
    return store_dataset(tmp_path_factory.mktemp("data"), inputs, labels)


@pytest.fixture(scope="module")
def stored(network, tmp_path_factory, prepared_model):
    folder = tmp_path_factory.mktemp("model")
    save_model(network, folder / "keras/model")
    records = [LayerRecord(name=each.name, kind=type(each).__name__) for each in network.layers]
    pruned = {"operations": ("pruned",), "weights": 9 * 16 * 24, "sparsity": 0.25}
    return prepared_model(
        folder,
        inputs=(Port("image", (8, 8, 2)),),
        outputs=(Port("class", (2,), activation="softmax"),),
        layers=tuple(replace(each, **pruned) if each.name == "c2" else each for each in records),
    ).keras


@pytest.fixture(scope="module")
def channels(network):
    return ChannelGraph.of(graph_of(network))


def of_layer(channels, values, layer):
    """Pick the values of the channels that a layer computes."""
    [group] = [group for group in channels.groups if group.layers == (layer,)]
    return values[group.channels]


def inputs_of(samples=6):
    return [RNG.normal(size=(samples, 8, 8, 2)).astype(np.float32)]


def test_the_norms_of_filters_are_divided_by_the_mean_of_the_layer(channels, network):
    kernel = network.get_layer("c2").kernel.numpy()

    for criterion, norms in (
        ("l1", np.abs(kernel).sum((0, 1, 2))),
        ("l2", np.sqrt((kernel**2).sum((0, 1, 2)))),
    ):
        found = of_layer(channels, scores_of(channels, criterion), "c2")
        np.testing.assert_allclose(found, norms / norms.mean(), rtol=1e-5)


def test_channels_without_batch_normalization_have_no_score_by_it(channels, network):
    scores = scores_of(channels, "bn_scale")

    gamma = network.get_layer("norm").gamma.numpy()
    np.testing.assert_allclose(of_layer(channels, scores, "c1"), gamma / gamma.mean(), rtol=1e-5)
    assert np.isnan(of_layer(channels, scores, "c2")).all()


def test_activations_are_measured_where_they_are_read(channels, network):
    import tf_keras

    inputs = inputs_of()
    probe = tf_keras.Model(
        network.input, [network.get_layer(name).output for name in ("r1", "mean", "hidden")]
    )
    for criterion in ("activation", "activation_sum"):
        scores = scores_of(channels, criterion, Measured(inputs, lambda *_: None))
        for layer, tensor in zip(("c1", "c2", "hidden"), probe(inputs[0]), strict=True):
            values = tensor.numpy()
            mean = np.abs(values).mean(tuple(range(values.ndim - 1)))  # never negative: the sum is alike
            np.testing.assert_allclose(of_layer(channels, scores, layer), mean / mean.mean(), rtol=1e-4)


def test_the_sum_of_activations_is_taken_before_its_magnitude(network):
    start_tensorflow(0)
    import tf_keras

    net = tf_keras.Sequential(
        [tf_keras.Input((3,)), tf_keras.layers.Dense(2, name="a"), tf_keras.layers.Dense(1, name="r")]
    )
    kernel = np.array([[1, 1], [0, 1], [0, 1]], np.float32)
    net.get_layer("a").set_weights([kernel, np.zeros(2, np.float32)])
    inputs = [np.array([[-3, 0, 2], [4, 0, -2]], np.float32)]  # outputs -3, 4 and -1, 2
    graph = ChannelGraph.of(graph_of(net))

    def ratio(criterion):
        first, second = of_layer(graph, scores_of(graph, criterion, Measured(inputs, lambda *_: None)), "a")
        return first / second

    assert ratio("activation") == pytest.approx(7 / 3)
    assert ratio("activation_sum") == pytest.approx(1 / 1)


def test_taylor_is_the_derivative_of_the_loss_by_a_factor_of_the_channel(channels, network):
    """Multiplying what c2 reads by 1 + h is multiplying the rows of its kernel."""
    import tensorflow as tf

    inputs, labels = inputs_of(), np.array([0, 1, 1, 0, 1, 0])
    kernel = network.get_layer("c2").kernel
    given, step = kernel.numpy(), 1e-3

    def losses(factors):
        kernel.assign(given * factors[:, None])
        found = -np.log(network(inputs[0], training=False).numpy()[np.arange(6), labels])
        kernel.assign(given)
        return found

    derivatives = np.zeros((16, 6))
    for channel in range(16):
        up, down = np.ones(16), np.ones(16)
        up[channel] += step
        down[channel] -= step
        derivatives[channel] = (losses(up) - losses(down)) / (2 * step)
    expected = np.abs(derivatives).sum(1)

    def loss(outputs, places):
        picked = tf.gather(outputs[0], labels[places], axis=1, batch_dims=1)
        return -tf.reduce_sum(tf.math.log(picked))

    found = of_layer(channels, scores_of(channels, "taylor", Measured(inputs, loss)), "c1")
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=0.05, atol=0.02)


def test_the_cost_is_positions_times_kernel(channels):
    assert Cost(channels).of(full_counts(channels)) == (64 * 9 * 2 * 16 + 16 * 9 * 16 * 24 + 24 * 12 + 12 * 2)


def test_a_member_counts_once_however_many_places_a_channel_has():
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    parts = [layers.Conv2D(4, 1, name="a"), layers.Flatten(), layers.Dense(5, name="r")]
    graph = ChannelGraph.of(graph_of(tf_keras.Sequential([tf_keras.Input((3, 3, 2)), *parts])))
    inputs = [RNG.normal(size=(6, 3, 3, 2)).astype(np.float32)]

    found = of_layer(graph, scores_of(graph, "activation", Measured(inputs, lambda *_: None)), "a")

    values = np.abs(parts[0](inputs[0]).numpy()).mean((0, 1, 2))
    np.testing.assert_allclose(found, values / values.mean(), rtol=1e-5)


def test_channels_that_many_layers_read_go_last():
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    x = inputs = tf_keras.Input((4, 4, 16))
    x = layers.Conv2D(16, 1, name="trunk")(x)
    for name in ("one", "two"):
        x = layers.Add()([x, layers.Conv2D(16, 1, name=name)(layers.Conv2D(16, 1, name=f"in_{name}")(x))])
    model = tf_keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    graph = ChannelGraph.of(graph_of(model))
    scores = np.ones(graph.channels)  # all channels of a layer are alike
    for group in graph.groups:
        scores[group.channels] = len(group.layers)

    choice = within_budget(graph, scores, 0.65 * Cost(graph).of(full_counts(graph)), 8)

    free = [group for group in graph.groups if not group.kept]
    assert {group.layers: int(choice.removed[group.channels].sum()) for group in free} == {
        ("trunk", "one", "two"): 0, ("in_one",): 8, ("in_two",): 8
    }  # fmt: skip


def test_a_budget_of_macs_is_kept_in_blocks(channels):
    scores = scores_of(channels, "l1")

    choice = within_budget(channels, np.nan_to_num(scores), 0.6 * Cost(channels).of(full_counts(channels)), 8)

    left = {group.layers: int((~choice.removed[group.channels]).sum()) for group in channels.groups}
    assert all(count % 8 == 0 or count == len(of_layer(channels, scores, name)) for (name,), count in
               ((layers, count) for layers, count in left.items() if layers))  # fmt: skip
    assert left["class",] == 2
    c1, c2, hidden = (left[name,] for name in ("c1", "c2", "hidden"))
    macs = 64 * 9 * 2 * c1 + 16 * 9 * c1 * c2 + c2 * hidden + hidden * 2
    assert choice.cost[1] == macs <= 0.6 * choice.cost[0]
    for name in ("c1", "c2"):
        gone = of_layer(channels, choice.removed, name)
        ordered = of_layer(channels, scores, name)
        assert not gone.any() or ordered[gone].max() <= ordered[~gone].min()


def test_an_impossible_budget_leaves_one_block_of_each_layer(channels):
    choice = within_budget(channels, np.nan_to_num(scores_of(channels, "l2")), 1.0, 8)

    assert {group.layers: int((~choice.removed[group.channels]).sum()) for group in channels.groups} == {
        (): 2, ("c1",): 8, ("c2",): 8, ("hidden",): 8, ("class",): 2
    }  # fmt: skip


def test_a_share_is_rounded_up_to_whole_blocks(channels):
    wanted = [0.5 * len(group.channels) for group in channels.groups]

    choice = with_counts(channels, np.nan_to_num(scores_of(channels, "l1")), wanted, 8)

    assert {group.layers: int((~choice.removed[group.channels]).sum()) for group in channels.groups} == {
        (): 2, ("c1",): 8, ("c2",): 16, ("hidden",): 8, ("class",): 2
    }  # fmt: skip


@pytest.fixture
def untrained(monkeypatch):
    """Spare the trainings of a test that does not look at what they change."""
    history = TrainingHistory(name="channels", curves=(), ranges=(), before=(), after=())
    monkeypatch.setattr("pipeline.compress.channels.fine_tune", lambda *_: history)


def removed(stored, data, folder, **settings):
    folder.mkdir()
    config = ChannelsConfig(**{"training": TRAINING, "max_drop_points": 101.0, "criterion": "l1"} | settings)
    found = remove_channels(stored, stored, data, config=config, seed=0, out=folder)
    return found, open_model(found.model)


def operations(found):
    return {layer.name: layer.operations for layer in found.layers if layer.operations}


def test_the_step_removes_records_and_says_what_it_saves(stored, data, tmp_path):
    found, model = removed(stored, data, tmp_path / "out", share=0.5)

    assert operations(found) == {
        "c1": ("8 of 16 channels removed",),
        "c2": ("pruned", "8 of 24 channels removed"),
        "hidden": ("4 of 12 channels removed",),
    }
    assert model.get_layer("c2").kernel.shape == (3, 3, 8, 16)
    [record] = [layer for layer in found.layers if layer.name == "c2"]
    assert record.weights == 9 * 8 * 16
    assert record.sparsity == np.mean(model.get_layer("c2").kernel.numpy() == 0) > 0.2
    assert {layer.name: layer.reason for layer in found.layers if layer.reason} == {
        "class": "all channels kept: the activation of 'class' depends on all of them"
    }
    before = 9 * 2 * 16 + 4 * 16 + 9 * 16 * 24 + 24 + 24 * 12 + 12 + 12 * 2 + 2
    after = 9 * 2 * 8 + 4 * 8 + 9 * 8 * 16 + 16 + 16 * 8 + 8 + 8 * 2 + 2
    assert found.findings == (
        f"channels: {before:,} -> {after:,} parameters, 0.074 -> 0.0278 million multiply-accumulates (l1)",
    )
    assert len(found.trainings) == 1


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("criterion", ["taylor", "activation", "bn_scale"])
def test_rounds_end_where_one_round_does(stored, data, tmp_path, criterion):
    found, model = removed(
        stored, data, tmp_path / "out", share=0.5, rounds=2, multiple=4, criterion=criterion
    )

    is_scale = criterion == "bn_scale"
    assert operations(found)["c1"] == ("4 of 16 channels removed", "4 of 12 channels removed")
    assert model.get_layer("c2").kernel.shape == (3, 3, 8, 24 if is_scale else 12)
    assert len(found.trainings) == 2
    [reason] = [layer.reason for layer in found.layers if layer.name == "c2"]
    no_score = "all channels kept: the criterion 'bn_scale' has no score for them"
    assert reason == (no_score if is_scale else "")


@pytest.mark.usefixtures("untrained")
def test_bisection_takes_the_smallest_model_that_loses_little(stored, data, tmp_path, monkeypatch):
    lost = iter((9.0, 1.0, 5.0))
    monkeypatch.setattr("pipeline.compress.channels.lost_points", lambda *_: next(lost))

    found, model = removed(stored, data, tmp_path / "out", share=0.5, multiple=1, max_drop_points=3.0)

    assert model.get_layer("c1").filters == 12
    assert found.notes == (
        "with 50% of the channels the model lost 9.0 points on held-out samples",
        "with 62% of the channels the model lost 5.0 points on held-out samples",
    )


@pytest.mark.usefixtures("untrained")
def test_the_same_removal_is_not_tried_twice(stored, data, tmp_path, monkeypatch):
    lost = iter((9.0,))
    monkeypatch.setattr("pipeline.compress.channels.lost_points", lambda *_: next(lost))

    found, _ = removed(stored, data, tmp_path / "out", macs=0.9, max_drop_points=3.0)

    assert operations(found) == {"c2": ("pruned",)}
    assert found.notes == ("with 90% of the MACs the model lost 9.0 points on held-out samples",)


@pytest.mark.usefixtures("untrained")
def test_without_labels_taylor_looks_at_the_squared_outputs(stored, tmp_path, store_dataset):
    inputs = np.random.default_rng(0).normal(size=(32, 8, 8, 2))
    data = store_dataset(tmp_path / "data", inputs, task="embedding")
    model = replace(stored, tasks=("embedding",))

    found, network = removed(model, data, tmp_path / "out", share=0.5, criterion="taylor")

    assert operations(found)["c1"] == ("8 of 16 channels removed",)
    assert network.output_shape == (None, 2)


@pytest.mark.usefixtures("untrained")
def test_a_model_that_bears_nothing_is_left_as_it_is(stored, data, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.compress.channels.lost_points", lambda *_: 50.0)

    found, model = removed(stored, data, tmp_path / "out", multiple=1, max_drop_points=3.0)

    for ours, theirs in zip(model.get_weights(), open_model(stored.model).get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert operations(found) == {"c2": ("pruned",)}
    assert found.trainings == stored.trainings
    assert found.findings == ()
    assert [note.split(" the model")[0] for note in found.notes] == [
        f"with {share} of the MACs" for share in ("50%", "75%", "88%")
    ]
    [record] = [layer for layer in found.layers if layer.name == "c1"]
    assert record.reason == f"all channels kept: {'; '.join(found.notes)}"


def test_layers_that_are_small_already_lose_nothing(stored, data, tmp_path):
    found, _ = removed(stored, data, tmp_path / "out", multiple=32)

    assert operations(found) == {"c2": ("pruned",)}
    assert found.notes == ('no channel can be removed: [[compress]] method = "channels" did nothing',)


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"clusters": 16}, "layer 'c2' has clustered weights, which fine-tuning would undo"),
        ({"levels": 3}, "layer 'c2' has weights of 3 levels, which fine-tuning would undo"),
        ({"output_bits": 4}, "layer 'c2' has 4-bit outputs, which fine-tuning would undo"),
    ],
)
def test_few_levels_of_an_earlier_step_are_refused(stored, data, tmp_path, facts, problem):
    layers = tuple(replace(each, **facts) if each.name == "c2" else each for each in stored.layers)

    with pytest.raises(StageError, match=f"{problem}; put method"):
        removed(replace(stored, layers=layers), data, tmp_path / "out")


def test_a_criterion_that_fits_no_layer_is_refused(data, tmp_path, prepared_model):
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [layers.Input((8, 8, 2)), layers.Flatten(), layers.Dense(16), layers.Dense(2)]
    )
    save_model(model, tmp_path / "model/keras/model")
    records = tuple(LayerRecord(name=each.name, kind=type(each).__name__) for each in model.layers)
    stored = prepared_model(
        tmp_path / "model", inputs=(Port("image", (8, 8, 2)),), outputs=(Port("d", (2,)),), layers=records
    ).keras

    with pytest.raises(StageError, match=r"'bn_scale' has no score for any channel of this model"):
        removed(stored, data, tmp_path / "out", criterion="bn_scale")


def test_two_budgets_exclude_each_other():
    with pytest.raises(ValidationError, match="macs and share exclude each other; leave one out"):
        ChannelsConfig(macs=0.5, share=0.5)
