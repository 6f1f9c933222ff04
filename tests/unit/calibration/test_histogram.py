"""Statistics of a tensor that are streamed over batches."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import CalibrationError
from calibration.histogram import DECAY, Histogram, Statistics


def values(*shape, scale=1.0, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def statistics(*batches):
    found = Statistics()
    for batch in batches:
        found.update(np.asarray(batch, np.float32))
    return found


class TestHistogram:
    def test_each_value_lies_between_the_edges_of_its_bin(self):
        for value in (1.0, -1.0, 3.3, -0.007, 1e-30, -1e30, 0.0, 1.9999999):
            found = Histogram.of(np.array([value], np.float32))
            (low,), (high,) = found.edges()
            assert found.counts.tolist() == [1]
            assert low <= np.float32(value) <= high
            assert high - low <= abs(value) / 127

    def test_bins_ascend_without_overlap(self):
        lower, upper = Histogram.of(values(10_000)).edges()

        assert (lower < upper).all()
        assert (upper[:-1] <= lower[1:]).all()

    def test_histograms_of_parts_add_up_to_that_of_the_whole(self):
        whole = values(1000)
        parts = [Histogram.of(part) for part in np.split(whole, [10, 500])]

        added = parts[0] + parts[1] + parts[2]

        expected = Histogram.of(whole)
        np.testing.assert_array_equal(added.bins, expected.bins)
        np.testing.assert_array_equal(added.counts, expected.counts)
        assert added.total == 1000

    def test_zero_and_minus_zero_share_a_bin_without_width(self):
        found = Histogram.of(np.array([0.0, -0.0], np.float32))

        assert (found.bins.tolist(), found.counts.tolist()) == ([0], [2])
        assert found.edges() == ([0.0], [0.0])

    def test_infinite_values_and_nan_are_left_out(self):
        found = Histogram.of(np.array([np.nan, np.inf, -np.inf, 1.0, np.finfo(np.float32).max], np.float32))

        assert found.total == 2
        assert np.isfinite(found.edges()).all()

    def test_an_outlier_costs_the_other_values_no_resolution(self):
        bulk = values(1000)

        found = Histogram.of(np.append(bulk, np.float32(1e6)))

        assert len(found.bins) == len(Histogram.of(bulk).bins) + 1

    def test_its_size_does_not_depend_on_the_number_of_values(self):
        found = Histogram()
        for seed in range(50):
            found += Histogram.of(values(10_000, seed=seed))

        assert found.total == 500_000
        assert len(found.bins) < 6000


class TestStatistics:
    def test_batches_give_the_same_as_all_samples_at_once(self):
        whole = values(50, 4, 3)

        one, other = statistics(whole), statistics(*np.split(whole, [7, 20, 21]))

        assert (one.low, one.high, one.samples) == (whole.min(), whole.max(), 50)
        assert (one.low, one.high, one.samples) == (other.low, other.high, other.samples)
        assert one.average_low == pytest.approx(other.average_low)
        assert one.average_high == pytest.approx(other.average_high)
        np.testing.assert_array_equal(one.histogram.counts, other.histogram.counts)

    def test_moving_averages_start_with_the_first_sample(self):
        found = statistics([[1.0, -2.0]], [[3.0, 0.0], [5.0, -6.0]])

        assert found.average_high == pytest.approx(DECAY * (DECAY * 1 + 0.01 * 3) + 0.01 * 5)
        assert found.average_low == pytest.approx(DECAY * (DECAY * -2 + 0.01 * 0) + 0.01 * -6)

    def test_what_is_not_finite_is_counted_and_ignored(self):
        found = statistics([[np.nan, 1.0], [np.inf, -np.inf], [-2.0, 3.0]])

        assert (found.low, found.high, found.samples, found.not_finite) == (-2.0, 3.0, 2, 3)
        assert found.average_high == pytest.approx(DECAY * 1 + 0.01 * 3)

    def test_a_tensor_without_finite_values_has_no_range(self):
        for batches in ([], [[[np.nan]]], [np.zeros((3, 0))]):
            with pytest.raises(CalibrationError, match="no finite value"):
                statistics(*batches).require_values()
