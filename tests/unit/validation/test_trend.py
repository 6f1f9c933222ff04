"""The slope of what drifts, and how often its interval cries wolf."""

from __future__ import annotations

import numpy as np

from pipeline.validation.trend import trend

AT = np.arange(1, 51) * 20.0


def test_a_slope_is_found_through_bursts():
    rng = np.random.default_rng(0)
    values = 3.0 * AT + rng.normal(0, 50, 50)
    values[[7, 20, 33]] += 1e5
    found = trend(AT, values)
    assert found is not None
    assert found.low < 3.0 < found.high
    assert found.low > 2.5


def test_nothing_grows_where_all_is_equal():
    found = trend(AT, np.full(50, 4096.0))
    assert found is not None
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_one_step_of_an_allocator_is_no_slope():
    found = trend(AT, np.where(AT > 300, 135168.0, 0.0))
    assert found is not None
    assert found.low <= 0.0


def test_few_values_have_no_slope():
    assert trend(AT[:9], AT[:9]) is None


def test_the_growth_over_a_run_is_the_slope_times_its_length():
    found = trend(AT, 2.0 * AT)
    assert found is not None
    assert found.times(1000).value == 2000.0


def false_alarms(neighbour: float, runs: int = 400) -> float:
    """Share of runs without a slope in which the interval lies above nothing; values resemble the last."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(runs):
        noise = rng.standard_t(2, 50)
        for index in range(1, 50):
            noise[index] += neighbour * noise[index - 1]
        found = trend(AT, noise)
        assert found is not None
        alarms += found.low > 0
    return alarms / runs


def test_independent_noise_seldom_looks_like_growth():
    assert false_alarms(0.0) <= 0.04


def test_noise_that_resembles_its_neighbour_seldom_looks_like_growth():
    assert false_alarms(0.5) <= 0.08
