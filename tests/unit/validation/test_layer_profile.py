"""What int8 does to each layer: errors and values, or the reason why they were not measured."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.artifacts import Transform
from pipeline.flatbuffer.layers import user_layers
from pipeline.flatbuffer.simulation import dequantized, simulate
from pipeline.validation.layer_errors import BINS, grouped, layer_errors
from pipeline.validation.layer_profile import _weights, profile_layers
from pipeline.validation.model_under_test import InputSpec, ModelUnderTest

LAYERS = {"conv": "conv", "flat": "flat", "dense": "head", "probabilities": "head"}


@pytest.fixture
def tiny(tiny_tflite, tmp_path):
    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite)
    return ModelUnderTest.open(tmp_path / "tiny.tflite")


def test_outputs_are_counted_in_float_and_in_int8_over_the_range_of_the_integers(tiny):
    groups = grouped(tiny.flat, user_layers(tiny.flat, LAYERS))
    values = np.random.default_rng(0).random((16, 4, 4, 1), np.float32)
    errors = dict(zip((g.layer for g in groups), layer_errors(tiny.flat, {}, groups, [values]), strict=True))
    output = errors["conv"].output

    assert len(output.counts) == len(output.int8_counts) == BINS
    assert sum(output.counts) == sum(output.int8_counts) == 16 * 4 * 4 * 4
    moved = np.abs(np.cumsum(output.counts) - np.cumsum(output.int8_counts)).sum()
    assert moved < 0.1 * sum(output.counts)


def test_weights_before_and_after_rounding_have_one_range(tiny):
    (group,) = (g for g in grouped(tiny.flat, user_layers(tiny.flat, LAYERS)) if g.layer == "conv")
    kernel = tiny.flat.tensors[tiny.flat.operators[0].inputs[1]]
    exact = dequantized(tiny.flat, kernel) * 1.5
    found = _weights(tiny.flat, {kernel.index: exact}, group)

    before, after = found["float_weights"], found["weights"]
    assert (before.low, before.high) == (after.low, after.high)
    assert before.high == pytest.approx(max(exact.max(), dequantized(tiny.flat, kernel).max()), rel=1e-5)
    assert sum(before.counts) == sum(after.counts) == kernel.elements
    assert _weights(tiny.flat, {}, group)["float_weights"] is None


@pytest.fixture
def profile(tmp_path, store_dataset):
    values = np.random.default_rng(0).random((64, 4, 4, 1), np.float32)
    data = store_dataset(tmp_path, values, np.arange(64) % 3, test=64)

    def found(path, *original):
        given = InputSpec.of((Transform(),), 0, 0)
        sources = [ModelUnderTest.open(each).source for each in (path, *original)]
        return profile_layers(
            sources[0], data, *sources[1:], inputs=given, layers=LAYERS, out=tmp_path
        ).found  # fmt: skip

    return found


def test_every_layer_is_compared_on_test_samples(tiny, profile):
    found = profile(tiny.path)

    assert [each.layer for each in found.layers] == ["image", "conv", "flat", "head"]
    assert (found.samples, found.exact_weights, found.problem) == (64, False, "")
    assert all(each.error is not None for each in found.layers)
    assert [each.weights is not None for each in found.layers] == [False, True, False, True]


def test_a_float_file_has_no_errors_and_says_why(tiny, profile, tmp_path):
    (tmp_path / "float.tflite").write_bytes(simulate(tiny.flat, {}, ()))
    found = profile(tmp_path / "float.tflite")

    assert found.layers == ()
    assert "no quantized activations" in found.problem


def test_the_float_file_of_the_same_weights_makes_their_rounding_part_of_the_error(tiny, profile, tmp_path):
    (tmp_path / "float.tflite").write_bytes(simulate(tiny.flat, {}, ()))
    found = profile(tiny.path, tmp_path / "float.tflite")

    assert found.exact_weights
    assert all((each.weights is None) == (each.float_weights is None) for each in found.layers)
