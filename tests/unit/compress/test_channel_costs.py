"""Budgets of bytes and instructions: they are those of the file, and what is left is within them."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from models.graph import build_model
from models.prepare import graph_of
from pipeline.compress.channel_budget import full_counts, within_budget
from pipeline.compress.channel_costs import bytes_cost
from pipeline.compress.channel_criteria import scores_of
from pipeline.compress.channel_graph import ChannelGraph
from pipeline.compress.channel_removal import without
from pipeline.compress.channels import ChannelsConfig
from pipeline.costing.predict import cost_table, predict
from pipeline.flatbuffer import read_tflite
from pipeline.quantize.tflite import untrained_files
from pipeline.training.keras_io import start_tensorflow

pytestmark = pytest.mark.xdist_group("planning")

BY_INSTRUCTIONS = ChannelsConfig(instructions=0.6, device="rpi4")


@pytest.fixture(scope="module")
def network():
    """Windows, 1x1, depthwise and transposed convolutions, a sum, a joint, pooling and dense layers."""
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((16, 16, 3), name="image")
    trunk = layers.Conv2D(32, 3, padding="same", activation="relu", name="trunk")(inputs)
    x = layers.Conv2D(64, 1, activation="relu", name="wide")(trunk)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = layers.Add(name="sum")([layers.Conv2D(32, 1, name="narrow")(x), trunk])
    x = layers.MaxPooling2D(2, name="pooled")(x)
    x = layers.Concatenate(name="joint")([x, layers.Conv2D(16, 3, padding="same", name="branch")(x)])
    x = layers.Conv2DTranspose(24, 2, strides=2, name="up")(x)
    x = layers.Dense(40, activation="sigmoid", name="hidden")(layers.GlobalAveragePooling2D(name="mean")(x))
    return tf_keras.Model(inputs, layers.Dense(10, activation="softmax", name="class")(x))


@pytest.fixture(scope="module")
def channels(network):
    return ChannelGraph.of(graph_of(network))


def operators(network):
    return sum(predict(read_tflite(untrained_files(network)[1]), cost_table("rpi4")).operators)


def test_a_budget_of_instructions_is_that_of_the_file(network, channels):
    cost, scores = BY_INSTRUCTIONS.cost(channels), np.nan_to_num(scores_of(channels, "l1"))
    full = cost.of(full_counts(channels))

    choice = within_budget(channels, scores, 0.6 * full, 8, cost)

    assert full == pytest.approx(operators(network), rel=0.02)
    assert choice.cost[1] <= 0.6 * full
    assert choice.cost[1] == pytest.approx(
        operators(build_model(without(channels, choice.removed))), rel=0.02
    )


def test_a_budget_of_bytes_is_that_of_the_kernels(channels):
    cost, scores = bytes_cost(channels), np.nan_to_num(scores_of(channels, "l1"))

    choice = within_budget(channels, scores, 0.5 * cost.of(full_counts(channels)), 8, cost)

    def kernel_bytes(graph):
        return sum(array.size for layer in graph.layers.values() for array in layer.weights if array.ndim > 1)

    assert choice.cost == (kernel_bytes(channels.graph), kernel_bytes(without(channels, choice.removed)))
    assert choice.cost[1] <= 0.5 * choice.cost[0]


def test_the_budget_is_described():
    assert BY_INSTRUCTIONS.budget(0.5) == "80% of the instructions on rpi4"
    assert ChannelsConfig(kernel_bytes=0.25).budget(1.0) == "25% of the bytes of kernels"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"macs": 0.5, "instructions": 0.5, "device": "rpi4"}, "macs and instructions exclude each other"),
        ({"share": 0.5, "kernel_bytes": 0.5}, "share and kernel_bytes exclude each other; leave one out"),
        ({"instructions": 0.5}, "instructions and device go together"),
        ({"device": "rpi4"}, "instructions and device go together"),
        (
            {"instructions": 0.5, "device": "rpi6"},
            "no instruction costs of 'rpi6' are known",
        ),
    ],
)
def test_a_bad_budget_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        ChannelsConfig(**given)
