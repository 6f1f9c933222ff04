"""Which range raw samples are scaled to where nobody says so, and what is said of one that does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.artifacts import Transform
from pipeline.preprocessing import check_range, usual_range

RAW = np.arange(256, dtype=np.uint8).reshape(-1, 1)
BRIGHT = ((RAW > 127) & (RAW < 250)).astype(np.int64)[:, 0]
RANGES = [
    ((127.5, 249.5), 1.0, 0.0, "as it is"),
    ((127.5 / 255, 249.5 / 255), 1 / 255, 0.0, "scaled to 0..1"),
    ((0.0, 249.5 / 127.5 - 1), 1 / 127.5, -1.0, "scaled to -1..1"),
]


def band(low, high):
    """A classifier of one value x: class 1 where ``low < x < high``, else class 0."""

    def predict(x):
        x = x.reshape(len(x), -1)[:, :1]
        return np.hstack([np.abs(x - (low + high) / 2), np.full_like(x, (high - low) / 2)])

    return predict


@pytest.mark.parametrize(("limits", "scale", "offset", "said"), RANGES)
def test_the_range_under_which_the_float_model_is_best_is_taken(limits, scale, offset, said):
    found, warning = usual_range(band(*limits), RAW, BRIGHT, "classification")

    assert (found.scale, found.offset) == (pytest.approx((scale,)), pytest.approx((offset,)))
    assert found.reason.startswith(f"{said}: accuracy 100.0% on 256 samples, else ")
    assert warning == ""


def test_an_autoencoder_is_matched_by_how_much_it_explains():
    raw = np.random.default_rng(0).integers(0, 256, (64, 6)).astype(np.uint8)

    found, _ = usual_range(lambda x: np.clip(x, 0, 1), raw, None, "reconstruction")

    assert found.scale == pytest.approx((1 / 255,))
    assert "explained variance 100.0%" in found.reason


def test_a_regression_is_matched_by_how_much_it_explains():
    raw = np.random.default_rng(0).integers(0, 256, (64, 6)).astype(np.uint8)

    def model(x):
        return np.tanh(x).mean(axis=1, keepdims=True)

    found, _ = usual_range(model, raw, model(raw / 127.5 - 1), "regression")

    assert found.scale == pytest.approx((1 / 127.5,))


def test_raw_floats_go_in_as_they_are():
    found, warning = usual_range(band(0.5, 0.9), RAW.astype(np.float32), BRIGHT, "classification")

    assert (found.scale, found.offset, warning) == ((1.0,), (0.0,), "")


def test_images_that_nobody_scaled_are_warned_about_with_both_ranges():
    images = RAW.astype(np.float32).reshape(-1, 1, 1, 1)
    model = band(0.0, 249.5 / 127.5 - 1)

    _, warning = usual_range(model, images, BRIGHT, "classification")

    assert warning.startswith("inputs run from 0 to 255, where the model has accuracy ")
    assert "with -1 to 1 it has 100.0%" in warning
    assert warning.endswith("so set [preprocessing] scale = 0.00784314, offset = -1")


def test_a_declared_range_that_suits_the_model_is_not_warned_about():
    images = RAW.reshape(-1, 1, 1, 1)
    scaled = Transform(scale=(1 / 255,))

    assert check_range(band(127.5 / 255, 249.5 / 255), images, BRIGHT, "classification", scaled) == ""
    assert "accuracy" in check_range(band(127.5, 249.5), images, BRIGHT, "classification", scaled)


def test_without_targets_nothing_tells_and_that_is_said():
    found, warning = usual_range(band(0, 1), RAW, None, "embedding")

    assert found.scale == pytest.approx((1 / 255,))
    assert "nothing tells which input range" in warning
