"""Arithmetic of the quantizers: levels, scales and edge cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.compress.quantizers import (
    binary,
    levels_of,
    max_scales,
    mse_high,
    mse_scales,
    refitted,
    rounded_activations,
    ternary,
    uniform,
)

NUMBERS = st.floats(-8, 8, width=32, allow_subnormal=False).filter(
    lambda value: value == 0 or abs(value) > 1e-4
)
WEIGHTS = arrays(np.float32, st.tuples(st.integers(1, 24), st.integers(1, 4)), elements=NUMBERS)
BITS = st.integers(2, 8)


def column(*values):
    return np.array(values, np.float32)[:, None]


def test_binary_weights_have_the_signs_and_the_mean_magnitude_of_each_channel():
    found = binary(np.array([[0.5, 3.0], [-1.5, 1.0]], np.float32))

    np.testing.assert_array_equal(found.codes, [[1, 1], [-1, 1]])
    np.testing.assert_array_equal(found.scales, [1.0, 2.0])
    np.testing.assert_array_equal(found.weights, [[1, 2], [-1, 2]])


def test_the_binary_sign_of_zero_is_plus_one():
    np.testing.assert_array_equal(binary(column(0.0, -0.0, 4.0)).codes, column(1, 1, 1))


def test_ternary_weights_at_the_threshold_are_zero():
    # The mean magnitude is 1, the threshold 0.7 as float32.
    found = ternary(column(0.7, -0.7, 0.71, -1.89))

    np.testing.assert_array_equal(found.codes, column(0, 0, 1, -1))
    assert found.scales == pytest.approx([1.3])


def test_ternary_leaves_pruned_weights_out_of_the_mean():
    weights = column(0.0, 0.0, 0.6, -1.0)

    assert ternary(weights).codes.ravel().tolist() == [0, 0, 1, -1]  # mean 0.4, threshold 0.28
    assert ternary(weights, kept=weights != 0).codes.ravel().tolist() == [0, 0, 1, -1]  # 0.8 and 0.56
    weights = column(0.0, 0.0, 0.5, -1.0)
    assert ternary(weights, kept=weights != 0).codes.ravel().tolist() == [0, 0, 0, -1]  # 0.75 and 0.525


@pytest.mark.parametrize(("bits", "largest"), [(2, 1), (3, 3), (4, 7), (8, 127)])
def test_codes_of_n_bits_are_symmetric(bits, largest):
    assert levels_of(bits) == largest
    found = uniform(column(-200, 200), np.array([1.0], np.float32), bits)
    np.testing.assert_array_equal(found.codes, column(-largest, largest))


def test_uniform_rounds_ties_to_the_even_code():
    found = uniform(column(0.5, 1.5, 2.5, -0.5, -1.5), np.array([1.0], np.float32), 4)

    np.testing.assert_array_equal(found.codes, column(0, 2, 2, 0, -2))


def test_the_scale_of_least_error_is_found_where_the_levels_are_exact():
    weights = column(*(0.3 * code for code in (-7, -2, 0, 1, 5)))

    assert max_scales(weights, 4) == pytest.approx([0.3])
    assert mse_scales(weights, 4) == pytest.approx([0.3])


def test_the_scale_of_least_error_clips_an_outlier():
    weights = np.random.default_rng(0).normal(size=(1000, 1)).astype(np.float32)
    weights[0] = 12

    errors = [
        float(np.square(uniform(weights, scales(weights, 4), 4).weights[1:] - weights[1:]).mean())
        for scales in (mse_scales, max_scales)
    ]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("quantize", [
    binary, ternary, lambda w: uniform(w, mse_scales(w, 3), 3), lambda w: uniform(w, max_scales(w, 2), 2),
])  # fmt: skip
def test_channels_of_equal_weights_are_exact_and_channels_of_zeros_stay_zero(quantize):
    weights = np.array([[0.0, 0.25, -2.0]] * 5, np.float32)

    found = quantize(weights)

    np.testing.assert_allclose(found.weights, weights, rtol=1e-6)
    assert found.scales[0] == 0


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, BITS)
def test_no_channel_has_more_levels_than_asked_and_mse_is_never_worse_than_max(weights, bits):
    found = uniform(weights, mse_scales(weights, bits), bits)
    widest = uniform(weights, max_scales(weights, bits), bits)

    for channel in found.weights.T:
        assert len(np.unique(channel)) <= 2 * levels_of(bits) + 1
    errors, errors_of_widest = (np.square(each.weights - weights).sum(axis=0) for each in (found, widest))
    assert (errors <= errors_of_widest * (1 + 1e-4) + 1e-6).all()
    assert (np.abs(widest.weights - weights) <= widest.scales / 2 * (1 + 1e-4) + 1e-6).all()
    assert (found.codes[weights == 0] == 0).all()


@settings(max_examples=60, deadline=None)
@given(WEIGHTS)
def test_binary_and_ternary_scales_have_the_least_error_for_their_codes(weights):
    for found in (binary(weights), ternary(weights)):
        best = refitted(weights, found.codes, found.scales)
        np.testing.assert_allclose(found.scales, best, rtol=1e-3, atol=1e-5)


def test_activations_are_clipped_and_rounded_half_up():
    values = np.array([-1.0, 0.0, 0.49, 0.5, 1.5, 2.6, 9.0], np.float32)

    np.testing.assert_array_equal(rounded_activations(values, 3.0, 2), [0, 0, 0, 1, 2, 3, 3])


def test_activations_of_no_range_are_zero():
    assert not rounded_activations(np.ones(3, np.float32), 0.0, 4).any()
    assert mse_high(np.zeros(3, np.float32), 4) == 0


def test_the_range_of_least_error_clips_outliers_of_activations():
    values = np.abs(np.random.default_rng(0).normal(size=1000)).astype(np.float32)

    assert mse_high(values, 8) > 0.8 * values.max()
    assert mse_high(np.append(values, np.float32(10)), 3) < 5
