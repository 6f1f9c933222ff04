"""Numbers, reconstructions and anomalies: against scikit-learn 1.x's figures, or computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import compare

from pipeline.errors import InputError

ROWS = np.arange(40)
TARGETS = np.stack([np.sin(ROWS), 100 + 10 * np.cos(0.7 * ROWS)], axis=1)
OUTPUTS = TARGETS + np.stack([0.2 * np.sin(3 * ROWS + 1), 3 * np.cos(5 * ROWS)], axis=1)


def values(found):
    return {metric.name: metric.baseline for metric in found.metrics}


def test_the_metrics_are_those_that_scikit_learn_gives():
    found = values(compare("regression", OUTPUTS, OUTPUTS, TARGETS, seed=0))

    assert {name: value for name, value in found.items() if "loses most" not in name} == pytest.approx(
        {
            "R2": 93.53926334580558,
            "MAE": 1.0230258875753067,
            "RMSE": 1.5195470975300966,
            "largest error": 3.0,
            "loss": 2.309023381612141,
        }
    )


def test_an_output_on_a_small_scale_counts_as_much_as_one_on_a_large_scale():
    coarse = OUTPUTS.copy()
    coarse[:, 0] = np.round(coarse[:, 0])  # a step of an int8 scale that the larger output needs
    found = compare("regression", OUTPUTS, coarse, TARGETS, seed=0, classes=("ratio", "weight"))

    worst = found.metric("R2 of ratio, which loses most")
    assert worst.baseline == pytest.approx(96.354424)
    assert found.primary.difference == pytest.approx(worst.difference / 2)
    assert found.primary.difference < -5
    assert found.metric("RMSE").difference < 0.1


def test_targets_may_come_without_the_outputs_last_dimension():
    one = compare("regression", OUTPUTS[:, :1], OUTPUTS[:, :1], TARGETS[:, 0], seed=0)

    assert values(one)["R2"] == pytest.approx(96.354424)
    assert not any("loses most" in name for name in values(one))


def test_many_outputs_are_judged_together():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(50, 10, 10))
    outputs = targets + 0.1 * rng.normal(size=targets.shape)
    found = compare("regression", outputs, outputs, targets, seed=0)

    flat = targets.reshape(50, -1)
    explained = 1 - ((outputs - targets) ** 2).sum() / ((flat - flat.mean(axis=0)) ** 2).sum()
    assert found.primary.baseline == pytest.approx(100 * explained)


def test_channels_of_a_map_are_the_last_axis_and_those_that_lose_most_come_first():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(50, 10, 10, 3)) * [1, 10, 100]
    outputs = targets * 0.9
    worse = outputs * [1, 0.5, 0.8]
    found = compare("regression", outputs, worse, targets, seed=0, classes=("x", "y", "z"))

    assert [channel.name for channel in found.channels] == ["y", "z", "x"]
    assert found.channel_count == 3
    flat = targets[..., 1]
    variance = ((flat - flat.mean(axis=0)) ** 2).mean()
    first = found.channels[0]
    assert first.spread == pytest.approx(np.sqrt(variance))
    assert first.explained.quantized == pytest.approx(100 * (1 - ((0.55 * flat) ** 2).mean() / variance))
    assert found.channels[2].explained.difference == 0


def test_one_number_has_no_channels():
    assert compare("regression", OUTPUTS[:, :1], OUTPUTS[:, :1], TARGETS[:, 0], seed=0).channels == ()


def test_constant_targets_are_judged_by_their_relative_error():
    constant = np.full((20, 1), 5.0)
    found = compare("regression", constant + 0.1, constant + 0.5, constant, seed=0)

    assert (found.primary.name, found.primary.better) == ("relative RMSE", "lower")
    assert (found.primary.baseline, found.primary.quantized) == pytest.approx((2, 10))
    assert found.note == "the targets are constant, so that there is no R2"


def test_targets_that_are_all_zero_are_refused():
    with pytest.raises(InputError, match="all targets are 0"):
        compare("regression", OUTPUTS, OUTPUTS, OUTPUTS * 0, seed=0)


def test_an_output_whose_target_never_varies_is_left_out_of_r2():
    targets = np.hstack([TARGETS[:, :1], np.full((40, 1), 0.1)])
    found = compare("regression", OUTPUTS, OUTPUTS, targets, seed=0)

    assert found.primary.baseline == pytest.approx(96.354424)


def test_a_float_model_no_better_than_the_mean_is_noted():
    found = compare("regression", TARGETS[::-1], TARGETS, TARGETS, seed=0)

    assert found.note.startswith("the float model is no better than the targets' mean (R2 -")


def test_a_far_away_mean_does_not_blur_the_variance():
    near = compare("regression", OUTPUTS, OUTPUTS, TARGETS, seed=0).primary.baseline
    far = compare("regression", OUTPUTS + 1e5, OUTPUTS + 1e5, TARGETS + 1e5, seed=0).primary.baseline

    assert far == pytest.approx(near, abs=1e-3)


@pytest.fixture
def images():
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(6, 6, 1)) + rng.normal(size=(300, 6, 6, 1))
    return inputs, inputs + 0.3 * rng.normal(size=inputs.shape)


def test_a_reconstruction_is_held_to_the_input(images):
    inputs, outputs = images
    found = compare("reconstruction", outputs, outputs, None, inputs=inputs, seed=0)

    flat, errors = inputs.reshape(300, -1), outputs - inputs
    assert values(found) == pytest.approx(
        {
            "explained variance": 100 * (1 - (errors**2).sum() / ((flat - flat.mean(axis=0)) ** 2).sum()),
            "MAE": np.abs(errors).mean(),
            "loss": (errors**2).mean(),
        }
    )
    assert found.note == ""


def test_a_reconstruction_may_have_another_shape_but_no_other_size(images):
    inputs, outputs = images
    flat = outputs.reshape(300, -1)

    assert compare("reconstruction", flat, flat, None, inputs=inputs, seed=0).samples == 300
    with pytest.raises(InputError, match=r"inputs of \(6, 6, 1\) a sample do not fit outputs of \(35,\)"):
        compare("reconstruction", flat[:, 1:], flat[:, 1:], None, inputs=inputs, seed=0)


def test_an_autoencoder_that_gives_the_mean_is_noted(images):
    inputs, _ = images
    mean = np.broadcast_to(inputs.mean(axis=0), inputs.shape) * 1.01

    assert "no better than the mean input" in (
        compare("reconstruction", mean, mean, None, inputs=inputs, seed=0).note
    )


def test_anomalies_are_ranked_by_their_error_and_normal_samples_give_the_loss(images):
    inputs, outputs = images
    anomalous = np.arange(300) % 3 == 0
    baseline = np.where(anomalous[:, None, None, None], inputs + 1.5, outputs)
    blind = np.where((np.arange(300) % 6 == 0)[:, None, None, None], inputs, baseline)
    found = compare("anomaly", baseline, blind, anomalous.astype(int), inputs=inputs, seed=0)

    assert (found.primary.name, found.primary.baseline, found.primary.quantized) == ("AUC", 100, 50)
    normal = ((outputs - inputs) ** 2)[~anomalous].mean()
    assert found.metric("loss of normal samples").baseline == pytest.approx(normal)
    assert found.metric("loss of normal samples").difference == 0
    assert found.note == ""


def test_without_anomalies_only_the_reconstruction_is_compared(images):
    inputs, outputs = images
    found = compare("anomaly", outputs, outputs, np.zeros(300, int), inputs=inputs, seed=0)

    assert found.primary.name == "explained variance"
    assert found.note == "no sample is an anomaly: only reconstruction is compared"


def test_anomalies_alone_are_refused(images):
    inputs, outputs = images
    with pytest.raises(InputError, match="every test sample is an anomaly"):
        compare("anomaly", outputs, outputs, np.ones(300, int), inputs=inputs, seed=0)


def test_errors_that_do_not_tell_anomalies_are_noted(images):
    inputs, outputs = images
    labels = np.arange(300) % 2

    assert "better than chance (50 %): do the labels mark anomalies with 1?" in (
        compare("anomaly", outputs, outputs, labels, inputs=inputs, seed=0).note
    )
