"""Ways to choose a range, on distributions whose best range is known."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from calibration.histogram import Statistics
from calibration.ranges import METHODS, choose_range
from pipeline.config import RangeMethod

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(256, 400)).astype(np.float32)
SKEWED = np.exp(NORMAL) - np.float32(0.3)


def chosen(values, method, percentile=99.99):
    found = Statistics()
    found.update(np.asarray(values, np.float32))
    return choose_range(found, method, percentile)


def quantized(values, low, high):
    """The values after int8 with this range."""
    step = (high - low) / 255
    zero = np.round(-low / step)
    return (np.clip(np.round(values / step) + zero, 0, 255) - zero) * step


def error(values, low, high):
    return float(np.mean((quantized(values.astype(np.float64), low, high) - values) ** 2))


def test_the_config_knows_every_method():
    assert set(get_args(RangeMethod)) == {"auto", *METHODS}


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    @pytest.mark.parametrize("values", [NORMAL, np.abs(NORMAL) + 1, -np.abs(NORMAL) - 1, SKEWED])
    def test_a_range_contains_zero_and_nothing_beyond_the_values(self, method, values):
        low, high = chosen(values, method)

        assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), 0)
        assert low < high

    def test_a_side_without_values_ends_at_zero(self, method):
        assert chosen(np.maximum(NORMAL, 0), method)[0] == 0
        assert chosen(np.minimum(NORMAL, 0), method)[1] == 0

    @pytest.mark.parametrize("value", [2.5, -2.5, 1e-30, 1e30])
    def test_equal_values_give_a_range_that_ends_at_them(self, method, value):
        low, high = chosen(np.full((4, 3), value), method)

        expected = np.float32(value)
        assert (low, high) == pytest.approx((min(expected, 0), max(expected, 0)))

    def test_zeros_alone_give_an_empty_range_at_zero(self, method):
        low, high = chosen(np.zeros((4, 3)), method)

        assert (low, high) == (0.0, 0.0)
        assert not np.signbit(low)
        assert not np.signbit(high)

    def test_two_values_are_both_kept(self, method):
        assert chosen([[-1.0, 1.0]] * 8, method) == pytest.approx((-1.0, 1.0))

    def test_a_range_follows_the_scale_of_the_values(self, method):
        one, other = chosen(NORMAL, method), chosen(NORMAL * 1024, method)

        assert other == pytest.approx([1024 * end for end in one])

    def test_the_mirrored_values_have_the_mirrored_range(self, method):
        low, high = chosen(SKEWED, method)

        assert chosen(-SKEWED, method) == pytest.approx((-high, -low), rel=1e-6)


@pytest.mark.parametrize("method", ["moving-average", "entropy"])
def test_one_sample_of_outliers_among_many_hardly_moves_the_range(method):
    damaged = NORMAL.copy()
    damaged[50] *= 1000

    low, high = chosen(damaged, method)

    assert -50 < low < -3
    assert 3 < high < 50


def test_min_max_is_exact():
    assert chosen(NORMAL, "min-max") == (NORMAL.min(), NORMAL.max())


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9, 100.0])
def test_percentiles_are_those_of_the_values(percentile):
    found = chosen(SKEWED, "percentile", percentile)

    expected = np.percentile(SKEWED, [100 - percentile, percentile])
    assert found == pytest.approx(expected, rel=1 / 128)


@pytest.mark.parametrize("values", [NORMAL, np.abs(NORMAL), np.exp(NORMAL), RNG.laplace(size=(256, 400))])
def test_mse_finds_the_range_with_the_smallest_error(values):
    low, high = chosen(values, "mse")

    factors = np.linspace(0.25, 1, 16)
    ends = [
        (below * min(values.min(), 0), above * values.max())
        for above in factors
        for below in (factors if values.min() < 0 else [1.0])
    ]
    smallest = min(error(values, *each) for each in ends)
    assert error(values, low, high) <= 1.1 * smallest


def test_entropy_clips_a_long_tail():
    low, high = chosen(SKEWED, "entropy")

    assert low == pytest.approx(SKEWED.min())
    assert np.percentile(SKEWED, 99) <= high < SKEWED.max() / 2


def test_entropy_clips_at_most_one_percent_of_the_values():
    low, high = chosen(RNG.standard_cauchy(size=(256, 400)), "entropy")
    rng = np.random.default_rng(1)
    spread = np.exp(3 * rng.normal(size=(256, 400)))
    _, top = chosen(spread, "entropy")

    assert low < -30
    assert high > 30
    assert np.mean(spread > top) <= 0.0101
