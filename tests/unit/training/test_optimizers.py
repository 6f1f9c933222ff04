"""Optimizers, learning rates, weight decay and clipping do what the settings say."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.training.keras_io import start_tensorflow
from pipeline.training.optimizers import make_optimizer
from pipeline.training_config import TrainingConfig

RATE = 0.5


@pytest.fixture(scope="module")
def network():
    """One layer of each kind of variable; half of the first kernel is zero."""
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    inputs = layers.Input((4, 4, 2))
    x = layers.Conv2D(4, 3, bias_initializer="ones", name="conv")(inputs)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer="ones", name="prelu")(
        layers.BatchNormalization(name="norm")(x)
    )
    x = layers.DepthwiseConv2D(2, bias_initializer="ones", name="depthwise")(x)
    x = layers.LSTM(3, name="lstm")(layers.Reshape((1, 4))(x))
    model = tf_keras.Model(inputs, layers.Dense(2, bias_initializer="ones", name="dense")(x))
    kernel = model.get_layer("conv").kernel
    kernel.assign(kernel * (np.arange(72) % 2).reshape(kernel.shape))
    return model


def applied(network, gradient, config, times=1):
    """The weights before and after steps with the same gradient everywhere, by the variable's name."""
    given = network.get_weights()
    variables = network.trainable_variables
    before = {each.name: each.numpy() for each in variables}
    optimizer = make_optimizer(config, 10, network)
    import tensorflow as tf

    for _ in range(times):
        optimizer.apply_gradients([(tf.fill(each.shape, gradient), each) for each in variables])
    after = {each.name: each.numpy() for each in variables}
    network.set_weights(given)
    return before, after


def rates(network, **settings):
    config = TrainingConfig(learning_rate=RATE, **settings)
    import tensorflow as tf

    optimizer = make_optimizer(config, 10, network)
    return [float(optimizer._learning_rate(tf.constant(step))) for step in range(11)]


def test_the_learning_rate_falls_as_the_settings_say(network):
    steps = np.arange(11)

    np.testing.assert_allclose(rates(network), RATE * (1 + np.cos(np.pi * steps / 10)) / 2, atol=1e-6)
    np.testing.assert_allclose(rates(network, decay="linear"), RATE * (1 - steps / 10), atol=1e-6)
    np.testing.assert_allclose(rates(network, decay="constant"), RATE)


@pytest.mark.parametrize("decay", ["cosine", "linear", "constant"])
def test_every_decay_has_a_warm_up(network, decay):
    found = rates(network, decay=decay, warm_up=0.4)

    np.testing.assert_allclose(found[:5], RATE * np.arange(5) / 4, atol=1e-6)
    assert found[-1] == pytest.approx(RATE if decay == "constant" else 0, abs=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_kernels_decay_apart_from_the_gradients_and_zeros_stay(network, optimizer):
    config = TrainingConfig(optimizer=optimizer, learning_rate=0.1, weight_decay=0.2, decay="constant")

    before, after = applied(network, 0.0, config, times=2)

    decayed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert decayed == {
        "conv/kernel:0", "depthwise/depthwise_kernel:0", "lstm/lstm_cell/kernel:0",
        "lstm/lstm_cell/recurrent_kernel:0", "dense/kernel:0",
    }  # fmt: skip
    for name in decayed:
        np.testing.assert_allclose(after[name], before[name] * (1 - 0.1 * 0.2) ** 2, rtol=1e-5)
    assert (after["conv/kernel:0"] == 0).sum() == 36


def test_each_optimizer_makes_steps_of_its_own(network):
    def step(times=1, **settings):
        before, after = applied(
            network, 0.25, TrainingConfig(learning_rate=0.1, decay="constant", **settings), times
        )
        moved = {name: before[name] - after[name] for name in before}
        return float(np.mean(moved["dense/kernel:0"]))

    assert step() == pytest.approx(0.1, rel=1e-3)  # Adam's first step has the size of the learning rate
    assert step(optimizer="sgd", momentum=0.0) == pytest.approx(0.025, rel=1e-3)
    # of Nesterov: each step adds the momentum that the next one will have
    assert step(optimizer="sgd", momentum=0.5) == pytest.approx(0.025 * 1.5, rel=1e-3)
    assert step(2, optimizer="sgd", momentum=0.5) == pytest.approx(0.025 * (1.5 + 1.75), rel=1e-3)
    assert step(optimizer="rmsprop") == pytest.approx(0.1 / np.sqrt(0.1), rel=1e-3)


def test_gradients_are_clipped_by_the_norm_of_all_of_them_together(network):
    config = TrainingConfig(
        optimizer="sgd", momentum=0.0, learning_rate=1.0, decay="constant", gradient_clip=0.5
    )

    before, after = applied(network, 3.0, config)

    moved = np.concatenate([(before[name] - after[name]).ravel() for name in before])
    assert np.linalg.norm(moved) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"momentum": 0.5}, 'momentum is that of optimizer = "sgd", not of "adam"'),
        ({"weight_decay": 10, "learning_rate": 0.1}, "weight_decay times learning_rate has to be below 1"),
        ({"label_smoothing": 0.1, "distillation": 1.0}, "label_smoothing changes labels, and distillation"),
        ({"temperature": 2, "distillation": 0}, "temperature is that of the teacher"),
        ({"optimizer": "adagrad"}, "optimizer"),
        ({"decay": "steps"}, "decay"),
        ({"gradient_clip": 0}, "gradient_clip"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        TrainingConfig(**settings)
