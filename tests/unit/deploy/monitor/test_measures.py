"""Distances between histograms, and how often chance alone makes them: held to simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstwobign

from deploy.monitor.measures import (
    class_needed,
    class_shift,
    edges_of,
    grouped,
    ks,
    ks_needed,
    latency_needed,
    null_of,
    psi,
    psi_chance,
    psi_needed,
    quantile_of,
    quantile_ratio,
)
from deploy.monitor.statistics import Null

STEP = 2 ** (1 / 8)


def test_equal_histograms_are_no_distance_apart():
    counts = [5, 0, 3, 12]

    assert ks(counts, [10 * count for count in counts]) == (0.0, 1.0)
    assert psi(grouped(counts, [0, 2]), grouped(counts, [0, 2])) == 0.0
    assert class_shift(counts, counts) == (0.0, 1.0)


def test_ks_is_the_largest_difference_of_the_cumulated_shares():
    size, p_value = ks([10, 10, 10, 10], [0, 0, 20, 20])

    assert size == 0.5
    assert p_value < 0.001


@pytest.mark.parametrize(("bins", "runs"), [(2, 1000), (6, 1000), (64, 250)])
def test_the_chance_of_a_ks_on_bins_is_what_a_simulation_gives(bins, runs):
    rng = np.random.default_rng(bins)
    shares = rng.dirichlet(np.ones(bins))
    found = np.array(
        [ks(rng.multinomial(2000, shares), rng.multinomial(400, shares))[1] for _ in range(runs)]
    )

    # The share of p-values below a level is the level, within three standard errors.
    for level in (0.2, 0.05):
        assert abs((found <= level).mean() - level) < 3 * np.sqrt(level * (1 - level) / runs)


def test_the_chance_of_a_ks_on_bins_is_below_that_of_continuous_values():
    counts = np.full(64, 100)
    moved = counts + np.where(np.arange(64) < 32, 4, -4)

    size, p_value = ks(counts, moved)

    continuous = kstwobign.sf(size * np.sqrt(3200))
    assert 0.6 * continuous < p_value < continuous


def test_fewer_samples_are_needed_for_a_larger_move():
    assert ks_needed(0.2, 5000, 0.01) < ks_needed(0.1, 5000, 0.01)
    size, p_value = ks([2500, 2500], np.array([0.4, 0.6]) * ks_needed(0.1, 5000, 0.01))
    assert size == pytest.approx(0.1)
    assert p_value <= 0.01


def test_a_baseline_may_have_too_few_samples_for_any_number_to_do():
    null = Null(edges=(0, 1), weight=1.0, square=1.0)

    assert ks_needed(0.1, 50, 0.01) is None
    assert psi_needed(0.1, null, 20, 0.01) is None
    assert class_needed(0.1, 10, 50, 0.01) is None


def test_groups_of_bins_have_a_share_each():
    counts = np.array([50, 1, 1, 1, 1, 1, 1, 40, 2, 2])
    edges = edges_of(counts.tolist())

    assert edges == [0, 1, 6]
    assert grouped(counts, edges).tolist() == [0.5, 0.05, 0.45]


def test_all_in_one_bin_is_one_group():
    assert edges_of([0, 0, 9, 0]) == [0]


@pytest.mark.parametrize("correlated", [0.0, 0.9])
def test_the_chance_of_a_psi_of_elements_is_what_a_simulation_gives(correlated):
    """Elements of one sample are alike; taken as independent they would give nothing but alarms."""
    rng = np.random.default_rng(4)

    def samples(count):
        elements = rng.normal(size=(count, 1)) * np.sqrt(correlated) + rng.normal(size=(count, 40)) * np.sqrt(
            1 - correlated
        )
        bins = np.clip((elements * 8 + 32).astype(int), 0, 63)
        return np.stack([np.bincount(row, minlength=64) for row in bins])

    found = []
    for _ in range(30):
        baseline = samples(1000)
        parts = np.array_split(baseline, 100)
        null = Null(**null_of([part.sum(axis=0).tolist() for part in parts], [len(part) for part in parts]))
        whole = grouped(baseline.sum(axis=0), null.edges)
        for _ in range(20):
            seen = grouped(samples(100).sum(axis=0), null.edges)
            found.append(psi_chance(psi(whole, seen), null, 1000, 100))

    assert abs((np.array(found) <= 0.05).mean() - 0.05) < 0.035
    assert abs((np.array(found) <= 0.5).mean() - 0.5) < 0.12


def test_a_class_that_comes_more_often_is_found_among_rare_ones():
    before = [1000, 800, 1, 0, 2]

    size, p_value = class_shift(before, [50, 150, 0, 1, 0])

    assert size > 0.1
    assert p_value < 1e-6
    assert class_shift(before, [110, 90, 0, 0, 0])[1] > 0.05


def test_a_latency_that_doubled_is_seen_with_its_interval():
    rng = np.random.default_rng(0)
    before = np.bincount((np.log2(rng.lognormal(7, 0.1, 1000)) * 8).astype(int), minlength=256)
    now = np.roll(before, 8)

    ratio, low, high = quantile_ratio(before.tolist(), now.tolist(), 0.5, STEP, 0.01)

    assert ratio == pytest.approx(2)
    assert 1.8 < low < 2 < high < 2.2
    assert quantile_of(before.tolist(), 0.5, 1.0, STEP) == pytest.approx(np.exp(7), rel=0.02)


def test_the_same_latencies_are_within_the_interval():
    rng = np.random.default_rng(1)
    outside = 0
    for _ in range(200):
        first, second = (
            np.bincount((np.log2(rng.lognormal(7, 0.3, 300)) * 8).astype(int), minlength=256).tolist()
            for _ in range(2)
        )
        _, low, high = quantile_ratio(first, second, 0.95, STEP, 0.05)
        outside += not low <= 1 <= high
    assert outside <= 10


def test_a_high_quantile_needs_more_inferences():
    assert latency_needed(0.5, 0.01) < latency_needed(0.95, 0.01)
