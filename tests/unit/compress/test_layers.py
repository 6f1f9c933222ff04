"""Layer removal: which blocks go, what is recorded and kept, and when the model stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from models.prepare import graph_of
from pipeline.compress.channel_removal import outputs_distance
from pipeline.compress.layers import LayersConfig, least_important, remove_layers
from pipeline.errors import StageError
from pipeline.layer_records import LayerRecord
from pipeline.training.keras_io import open_model, start_tensorflow
from pipeline.training_config import TrainingConfig

pytestmark = pytest.mark.xdist_group("layers")

TRAINING = TrainingConfig(epochs=1, min_steps=3, batch_size=16, learning_rate=1e-4)
CONFIG = LayersConfig(blocks=1, training=TRAINING, max_drop_points=100)


@pytest.fixture(scope="module")
def stored(store_network):
    """Two residual blocks, the first of which adds next to nothing, and a chain of linear layers."""
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 2), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
    for number, start in ((1, "zeros"), (2, "glorot_uniform")):
        y = layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"conv_{number}")(x)
        y = layers.BatchNormalization(gamma_initializer=start, name=f"norm_{number}")(y)
        x = layers.ReLU(name=f"relu_{number}")(layers.Add(name=f"add_{number}")([x, y]))
    x = layers.Conv2D(12, 3, name="linear")(x)
    x = layers.Conv2D(6, 1, activation="relu", name="pointwise")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = tf_keras.Model(inputs, layers.Dense(2, activation="softmax", name="class")(x))
    kernel = model.get_layer("conv_2").kernel
    kernel.assign(kernel * (np.arange(576) % 2).reshape(kernel.shape))

    def record_of(layer):
        facts = {"weights": 576, "sparsity": 0.5} if layer.name == "conv_2" else {}
        return LayerRecord(name=layer.name, kind=type(layer).__name__, made_of=f"my_{layer.name}", **facts)

    return store_network(model, record_of)


@pytest.fixture(scope="module")
def found(stored, data, tmp_path_factory):
    return remove_layers(stored, stored, data, config=CONFIG, seed=0, out=tmp_path_factory.mktemp("found"))


def test_the_block_that_changes_least_is_left_out_and_the_rest_is_recorded(found, stored):
    network = open_model(found.model)

    names = [layer.name for layer in network.layers]
    assert [layer.name for layer in found.layers] == names
    assert {layer.name for layer in stored.layers} - set(names) == {"conv_1", "norm_1", "add_1", "linear"}
    records = {layer.name: layer for layer in found.layers}
    assert records["pointwise"].operations == ("merged with linear",)
    assert records["pointwise"].made_of == "my_pointwise"
    assert records["conv_2"] == next(layer for layer in stored.layers if layer.name == "conv_2")
    assert network.get_layer("pointwise").kernel_size == (3, 3)
    assert len(found.trainings) == 1
    assert found.outputs == stored.outputs


def test_zeros_of_pruned_layers_stay_and_their_other_weights_are_trained(found, stored):
    before, after = (open_model(each.model).get_layer("conv_2").kernel.numpy() for each in (stored, found))

    np.testing.assert_array_equal(before == 0, after == 0)
    assert not np.array_equal(before, after)


def test_the_findings_name_the_block_with_its_effect_and_the_costs(found):
    blocks, merged, costs = found.findings

    assert blocks == "layers: 1 blocks left out: add_1 (changes the outputs by 0.0%)"
    assert merged == "layers merged: linear into pointwise"
    full = 64 * 9 * (2 * 8 + 2 * 64) + 36 * (9 * 8 * 12 + 12 * 6) + 12
    left = 64 * 9 * (2 * 8 + 64) + 36 * 9 * 8 * 6 + 12
    assert costs == f"layers: 14 -> 10 layers, multiply-accumulates {full:,} -> {left:,}"


def test_merging_alone_needs_no_training_and_computes_the_same(stored, data, tmp_path):
    config = CONFIG.model_copy(update={"blocks": 0, "norms": "fold"})

    found = remove_layers(stored, stored, data, config=config, seed=0, out=tmp_path)

    assert found.trainings == ()
    given, made = open_model(stored.model), open_model(found.model)
    assert {layer.name for layer in given.layers} - {layer.name for layer in made.layers} == {
        "linear",
        "norm_1",
    }
    image = np.random.default_rng(1).normal(size=(3, 8, 8, 2)).astype(np.float32)
    assert outputs_distance(made, given, [image]) <= 1e-5


def test_importance_is_measured_again_after_each_block(stored, data):
    graph = graph_of(open_model(stored.model))
    inputs = [np.load(data.input(0)).astype(np.float32)]

    first, second = least_important(graph, inputs, CONFIG.model_copy(update={"blocks": 2}))

    assert first.block.name == "add_1"
    assert first.change < 1e-6 < second.change
    assert second.block.name == "add_2"


def test_a_share_of_multiply_accumulates_is_reached_or_refused(stored, data):
    graph = graph_of(open_model(stored.model))
    inputs = [np.load(data.input(0)).astype(np.float32)]

    removed = least_important(graph, inputs, LayersConfig(macs=0.8))
    assert len(removed) == 1
    with pytest.raises(StageError, match=r"macs = 0.1 cannot be reached: without all blocks 0\.\d+ are left"):
        least_important(graph, inputs, LayersConfig(macs=0.1))


@pytest.mark.parametrize(("losses", "left"), [((9.0, 1.0), 1), ((9.0, 8.0), 0)])
def test_a_model_that_does_not_bear_it_loses_fewer_blocks_or_none(
    stored, data, tmp_path, monkeypatch, losses, left
):
    remaining = list(losses)
    monkeypatch.setattr("pipeline.compress.layers.lost_points", lambda *_: remaining.pop(0))
    monkeypatch.setattr("pipeline.compress.layers.fine_tune", lambda *_: None)
    config = CONFIG.model_copy(update={"blocks": 2, "max_drop_points": 3, "collapse": False})

    found = remove_layers(stored, stored, data, config=config, seed=0, out=tmp_path)

    notes = [
        f"without {count} blocks the model lost {lost:.1f} points on held-out samples"
        for count, lost in zip((2, 1), losses, strict=True)
    ]
    assert list(found.notes) == notes[: 2 - left]
    gone = {layer.name for layer in stored.layers} - {layer.name for layer in found.layers}
    assert gone == ({"conv_1", "norm_1", "add_1"} if left else set())
    if not left:
        assert found.findings == ()
        given, made = open_model(stored.model), open_model(found.model)
        for ours, theirs in zip(made.get_weights(), given.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_layer_with_zeros_is_not_merged(stored, data, tmp_path):
    zeros = {"weights": 864, "sparsity": 0.001}
    layers = tuple(replace(each, **zeros) if each.name == "linear" else each for each in stored.layers)
    config = CONFIG.model_copy(update={"blocks": 0})

    found = remove_layers(replace(stored, layers=layers), stored, data, config=config, seed=0, out=tmp_path)

    assert found.layers == layers
    assert found.notes == ('no layer can be left out: [[compress]] method = "layers" did nothing',)


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"clusters": 16, "levels": 16}, "clustered weights"),
        ({"levels": 15}, "weights of 15 levels"),
        ({"output_bits": 4}, "4-bit outputs"),
    ],
)
def test_few_values_of_earlier_steps_are_not_undone(stored, data, tmp_path, facts, what):
    layers = (*stored.layers[:-1], replace(stored.layers[-1], **facts))
    expected = rf"layer 'class' has {what}, which fine-tuning would undo; put method = \"layers\" before"

    with pytest.raises(StageError, match=expected):
        remove_layers(replace(stored, layers=layers), stored, data, config=CONFIG, seed=0, out=tmp_path)


def test_settings_that_exclude_each_other_are_refused():
    with pytest.raises(ValidationError, match="blocks and macs exclude each other"):
        LayersConfig(blocks=1, macs=0.5)
    with pytest.raises(ValidationError, match='norms = "fold" is part of collapse'):
        LayersConfig(norms="fold", collapse=False)
