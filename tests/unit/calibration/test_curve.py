"""How many samples are enough: the curve over subsets, and its verdict."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from calibration.curve import curve, squared_errors
from calibration.extremes import Extremes
from calibration.histogram import Histogram
from calibration.tensor_checks import check_number

RNG = np.random.default_rng(0)


def observed(samples, tensors, draw):
    """Values of several tensors, (samples, tensors, 50), as extremes and histograms."""
    values = draw((samples, tensors, 50)).astype(np.float32)
    every = Extremes.of(values.min(axis=2), values.max(axis=2))
    return every, [Histogram.of(values[:, at]) for at in range(tensors)]


@pytest.fixture(scope="module")
def heavy():
    """Heavy tails, for which the range grows with the samples for ever."""
    return observed(512, 12, lambda shape: RNG.standard_t(3, shape))


def test_errors_in_a_range_are_those_of_rounding_and_clipping():
    values = RNG.normal(size=20_000).astype(np.float32)
    ends = np.array([-5.0, -1.0, -0.1]), np.array([5.0, 2.0, 0.3])
    found = squared_errors(Histogram.of(values), *ends)

    for low, high, error in zip(*ends, found, strict=True):
        step = (high - low) / 255
        clipped = np.clip(values, low, high)
        expected = np.sum((np.round(clipped / step) * step - values) ** 2)
        assert error == pytest.approx(expected, rel=0.03)


def test_a_wider_range_costs_resolution_and_a_narrower_one_clips():
    values = Histogram.of(RNG.normal(size=5000).astype(np.float32))
    widths = np.array([1.0, 3.5, 40.0])
    errors = squared_errors(values, -widths, widths)

    assert errors.argmin() == 1


def test_subsets_grow_to_all_samples_and_ranges_with_them(heavy):
    points = curve(*heavy, seed=0)

    assert [point.samples for point in points] == [8, 16, 32, 64, 128, 256, 512]
    assert all(one.coverage < other.coverage for one, other in pairwise(points))
    assert all(point.low_db <= point.error_db <= point.high_db for point in points)
    assert points[-1].coverage == points[-1].worst == 1
    assert points[-1].low_db == pytest.approx(points[-1].high_db)
    assert [point.growth is None for point in points] == [False] * 6 + [True]
    assert points[0].growth > 0


def test_a_curve_ends_at_all_samples_whatever_their_number(heavy):
    every, values = heavy

    assert [point.samples for point in curve(every.take(slice(100)), values, 0)] == [8, 16, 32, 64, 100]
    assert [point.samples for point in curve(every.take(slice(5)), values, 0)] == [5]


def test_the_seed_decides(heavy):
    assert curve(*heavy, seed=1) == curve(*heavy, seed=1) != curve(*heavy, seed=2)


def test_equal_samples_need_only_a_few():
    same = Extremes.of(np.full((40, 2), -1.0), np.full((40, 2), 2.0))
    values = [Histogram.of(np.linspace(-1, 2, 999, dtype=np.float32))] * 2
    points = curve(same, values, 0)

    assert {(point.coverage, point.worst) for point in points} == {(1, 1)}
    found = check_number(points, 40, 1000)
    assert found.outcome == "passed"
    assert found.text.endswith("8 samples are enough")


def test_too_few_samples_need_as_many_as_are_enough():
    """Half of each tensor is reached by one sample in twenty only."""
    rare = RNG.random((512, 30)) < 0.05
    every = Extremes.of(np.zeros((512, 30)), np.where(rare, 2.0, 1.0))
    spots = [np.linspace(0, 1, 100 * 512), np.linspace(1, 2, 5 * 512)]
    values = [Histogram.of(np.concatenate(spots).astype(np.float32))] * 30
    points = curve(every, values, 0)

    assert points[0].high_db > 3
    found = check_number(points, 8, 5000)
    assert found.outcome == "warning"
    assert "set [calibration] samples to " in found.fix
    assert "collect more samples" in check_number(points, 8, 8).fix


def test_a_curve_needs_more_than_one_size():
    every = Extremes.of(np.full((4, 2), -1.0), np.full((4, 2), 2.0))
    points = curve(every, [Histogram.of(np.ones(1, np.float32))] * 2, 0)
    assert check_number(points, 4, 4).outcome == "warning"
