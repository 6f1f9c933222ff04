"""Low rank: layers in place of others compute the same with full ranks, and cost less with lower ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from models.graph import build_model
from models.prepare import graph_of
from pipeline.compress.low_rank import (
    Choice,
    LowRankConfig,
    chosen,
    costed_layers,
    energy_for,
    factorize_layers,
    factorized,
)
from pipeline.errors import StageError
from pipeline.layer_records import LayerRecord
from pipeline.training.keras_io import open_model, start_tensorflow
from pipeline.training_config import TrainingConfig

pytestmark = pytest.mark.xdist_group("low_rank")  # one process trains what the tests share

RNG = np.random.default_rng(0)
TRAINING = TrainingConfig(epochs=1, min_steps=3, batch_size=16, learning_rate=1e-4)
CONFIG = LowRankConfig(energy=0.9, training=TRAINING, max_drop_points=100)


@pytest.fixture(scope="module")
def data(tmp_path_factory, store_dataset):
    labels = np.arange(48) % 2
    inputs = np.random.default_rng(0).normal(size=(48, 8, 8, 2)) + labels[:, None, None, None]
    return store_dataset(tmp_path_factory.mktemp("data"), inputs, labels)


def low_rank_kernel(shape, rank):
    """A kernel that a spatial or plain SVD of this rank reproduces, but for noise."""
    *window, inputs, outputs = shape
    height, width = window or (1, 1)
    rng = np.random.default_rng(1)
    product = rng.normal(size=(height * inputs, rank)) @ rng.normal(size=(rank, width * outputs))
    kernel = product.reshape(height, inputs, width, outputs).swapaxes(1, 2).reshape(shape)
    return 0.1 * kernel + rng.normal(0, 0.01, shape)


@pytest.fixture(scope="module")
def network():
    """Layers with a low rank (window, hidden), one of full rank (whole), and some that stay."""
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2), name="image")
    x = layers.Conv2D(24, 3, padding="same", activation="relu", name="first")(inputs)
    x = layers.Conv2D(32, 3, strides=(2, 1), padding="same", use_bias=False, name="window")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(32, 1, name="whole")(x)
    x = layers.Conv2D(16, 3, groups=2, name="groups")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(40, activation="relu", name="hidden")(x)
    model = tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x))
    for name in ("window", "hidden"):
        kernel = model.get_layer(name).kernel
        kernel.assign(low_rank_kernel(tuple(kernel.shape), 6))
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(32, 32)))
    model.get_layer("whole").kernel.assign(rotation[None, None])
    return model


@pytest.fixture(scope="module")
def stored(network, store_network):
    def record_of(layer):
        made_of = "mine" if layer.name == "window" else ""
        return LayerRecord(name=layer.name, kind=type(layer).__name__, made_of=made_of)

    return store_network(network, record_of)


@pytest.fixture(scope="module")
def found(stored, data, tmp_path_factory):
    return factorize_layers(stored, stored, data, config=CONFIG, seed=0, out=tmp_path_factory.mktemp("found"))


@pytest.fixture
def untrained(monkeypatch):
    """Leave out the training, for tests of what is chosen before and after it."""
    monkeypatch.setattr("pipeline.compress.low_rank.fine_tune", lambda *_: None)


def test_layers_of_low_rank_are_replaced_and_others_say_why_not(found, stored):
    records = {layer.name: layer for layer in found.layers}
    model = open_model(found.model)

    assert [layer.name for layer in found.layers] == [layer.name for layer in model.layers]
    assert [name for name, each in records.items() if each.operations] == [
        "window_vertical", "window", "hidden_reduce", "hidden"
    ]  # fmt: skip
    assert records["window"].operations == ("rank 8 of 72 (spatial SVD)",)
    assert records["hidden"].operations == ("rank 8 of 40 (SVD)",)
    assert {name: each.made_of for name, each in records.items() if each.made_of} == {
        "window_vertical": "mine", "window": "mine", "hidden_reduce": "hidden"
    }  # fmt: skip
    saving = "not factorized: it would save less than 10% of its multiply-accumulates"
    assert {name: each.reason for name, each in records.items() if each.reason} == {
        "first": saving,
        "depthwise": "not factorized: DepthwiseConv2D is never factorized",
        "whole": saving,
        "groups": "not factorized: it is a convolution in groups",
        "class": saving,
    }
    assert len(found.trainings) == 1
    assert found.outputs == stored.outputs


def test_the_last_layer_has_the_bias_the_activation_and_the_strides_are_shared_out(found):
    model = open_model(found.model)
    vertical, horizontal = (model.get_layer(name) for name in ("window_vertical", "window"))
    first, last = (model.get_layer(name) for name in ("hidden_reduce", "hidden"))

    assert (vertical.kernel_size, vertical.strides, vertical.padding) == ((3, 1), (2, 1), "same")
    assert (horizontal.kernel_size, horizontal.strides, horizontal.padding) == ((1, 3), (1, 1), "same")
    assert (first.use_bias, last.use_bias) == (False, True)
    assert [each.activation.__name__ for each in (first, last)] == ["linear", "relu"]


def test_the_finding_has_the_costs_before_and_after(found):
    window, hidden, dense = 9 * 24 * 32, 192 * 40, 40 * 2
    before = 64 * 9 * 2 * 24 + 32 * (window + 9 * 32 + 32 * 32) + 12 * 9 * 16 * 16 + hidden + dense
    after = before - 32 * window - hidden + 32 * 8 * 3 * (24 + 32) + 8 * (192 + 40)
    weights = 9 * 2 * 24 + window + 9 * 32 + 32 * 32 + 9 * 16 * 16 + hidden + dense
    fewer = weights - window - hidden + 8 * 3 * (24 + 32) + 8 * (192 + 40)

    macs = f"multiply-accumulates {before:,} -> {after:,} ({after / before:.0%})"
    kernels = f"weights of kernels {weights:,} -> {fewer:,} ({fewer / weights:.0%})"
    assert found.findings == (f"low rank: 2 of 7 layers factorized, {macs}, {kernels}",)


CONVOLUTIONS = [
    {},
    {"padding": "same"},
    {"padding": "same", "strides": 2},
    {"strides": (2, 1)},
    {"padding": "same", "strides": (1, 2)},
    {"padding": "same", "dilation_rate": 2},
    {"dilation_rate": (2, 1)},
    {"kernel_size": (5, 2), "padding": "same", "strides": 3},
    {"kernel_size": (1, 3)},
    {"kernel_size": 1, "strides": 2, "padding": "same", "use_bias": False},
]


@pytest.mark.parametrize("decomposition", ["spatial", "tucker"])
@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
def test_a_convolution_with_full_ranks_computes_the_same(settings, decomposition):
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    settings = {"kernel_size": 3, "activation": "relu", "bias_initializer": "normal"} | settings
    inputs = layers.Input((9, 11, 4))
    given = tf_keras.Model(inputs, layers.Conv2D(6, name="conv", **settings)(inputs))
    samples = RNG.normal(size=(3, 9, 11, 4)).astype(np.float32)

    replaced = full(given, decomposition)

    assert len(replaced.layers) > 2
    np.testing.assert_allclose(replaced(samples), given(samples), atol=1e-4)
    assert replaced.output_names == given.output_names


def full(given, decomposition="auto"):
    """The model with every layer replaced that can be, with full ranks."""
    graph = graph_of(given)
    costs = costed_layers(graph, LowRankConfig(decomposition=decomposition))
    choices = {
        name: Choice(each.decompositions[0], each.decompositions[0].full)
        for name, each in costs.items()
        if each.decompositions
    }
    return build_model(factorized(graph, choices))


def test_dense_layers_with_full_ranks_compute_the_same_also_if_they_are_called_twice():
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((5, 6), name="series")
    shared = layers.Dense(6, "tanh", bias_initializer="normal", name="shared")
    x = shared(shared(inputs))
    given = tf_keras.Model(inputs, layers.Dense(3, name="last")(layers.Flatten(name="flat")(x)))
    samples = RNG.normal(size=(4, 5, 6)).astype(np.float32)

    replaced = full(given)

    np.testing.assert_allclose(replaced(samples), given(samples), atol=1e-4)
    assert [layer.name for layer in replaced.layers] == [
        "series", "shared_reduce", "shared", "flat", "last_reduce", "last"
    ]  # fmt: skip
    assert costed_layers(graph_of(given), LowRankConfig())["shared"].macs == 2 * 5 * 36


def test_the_error_of_a_truncated_model_is_that_of_the_discarded_singular_values(network):
    """For independent inputs of variance 1, the squared error of an output is that of its weights."""
    graph = graph_of(network)
    costs = costed_layers(graph, LowRankConfig())
    choice = chosen(costs, 0.9)["hidden"]

    layers = factorized(graph, {"hidden": choice}).layers
    product = layers["hidden_reduce"].weights[0] @ layers["hidden"].weights[0]

    kernel = network.get_layer("hidden").kernel.numpy()
    values = np.linalg.svd(kernel, compute_uv=False)
    error = np.linalg.norm(product - kernel)
    assert error == pytest.approx(np.sqrt((values[8:] ** 2).sum()), rel=1e-3)
    assert error**2 <= 0.1 * (kernel**2).sum()


def test_auto_takes_the_cheaper_decomposition_of_each_layer(network):
    graph = graph_of(network)
    costs = {
        way: costed_layers(graph, LowRankConfig(decomposition=way))["window"]
        for way in ("auto", "spatial", "tucker", "svd")
    }

    macs = {way: each.macs_with(each.best(0.9)) for way, each in costs.items()}
    assert macs["auto"] == min(macs["spatial"], macs["tucker"]) < macs["svd"] == costs["auto"].macs
    assert costs["svd"].reason == 'its kernel has a window, and decomposition is "svd"'


def test_a_share_of_multiply_accumulates_is_reached_with_the_largest_energy(network):
    costs = costed_layers(graph_of(network), LowRankConfig())
    total = sum(each.macs for each in costs.values())

    energy = energy_for(costs, 0.7)

    def share(of):
        choices = chosen(costs, of)
        return sum(each.macs_with(choices.get(name)) for name, each in costs.items()) / total

    assert share(energy) <= 0.7 < share(energy + 1e-5)


def test_a_share_that_cannot_be_reached_is_refused_with_the_least(network):
    costs = costed_layers(graph_of(network), LowRankConfig())

    with pytest.raises(StageError, match=r"macs = 0.01 cannot be reached.*; give at least macs = 0\.\d+"):
        energy_for(costs, 0.01)
    with pytest.raises(ValidationError, match="energy and macs exclude each other"):
        LowRankConfig(energy=0.5, macs=0.5)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(("losses", "tries"), [((5.0, 1.0), 2), ((9.0, 8.0, 7.0), 0)])
def test_a_model_that_does_not_bear_it_gets_higher_ranks_or_stays(
    stored, data, network, tmp_path, monkeypatch, losses, tries
):
    left = list(losses)
    monkeypatch.setattr("pipeline.compress.low_rank.lost_points", lambda *_: left.pop(0))
    config = CONFIG.model_copy(update={"max_drop_points": 3})

    found = factorize_layers(stored, stored, data, config=config, seed=0, out=tmp_path)

    energies = ("0.900", "0.950", "0.975")
    assert list(found.notes) == [
        f"with energy {energy} the model lost {lost:.1f} points on held-out samples"
        for energy, lost in zip(energies, losses[: tries - 1 if tries else None], strict=False)
    ]
    if tries:
        assert any(layer.operations for layer in found.layers)
        return
    assert found.findings == ('no layer is factorized: [[compress]] method = "low_rank" did nothing',)
    reasons = {layer.name: layer.reason for layer in found.layers}
    assert reasons["hidden"] == f"not factorized: {'; '.join(found.notes)}"
    for ours, theirs in zip(open_model(found.model).get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"weights": 10, "sparsity": 0.5}, "pruned weights"),
        ({"clusters": 16, "levels": 16}, "clustered weights"),
        ({"levels": 15}, "weights of 15 levels"),
        ({"output_bits": 4}, "4-bit outputs"),
    ],
)
def test_what_earlier_steps_did_is_not_undone(stored, data, tmp_path, facts, what):
    layers = (*stored.layers[:-1], replace(stored.layers[-1], **facts))
    expected = rf"layer 'class' has {what}, which factorization would undo; put method = \"low_rank\" before"

    with pytest.raises(StageError, match=expected):
        factorize_layers(replace(stored, layers=layers), stored, data, config=CONFIG, seed=0, out=tmp_path)
