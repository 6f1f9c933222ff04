"""Paired latency: order, verdicts, and that no percentile is told without its samples."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipeline.errors import ConfigError, StageError
from pipeline.validation.latency import compare, judge, summarize


class Machine:
    """A machine whose speed drifts: it times models whose true latencies are known."""

    def __init__(self, baseline_us, quantized_us, drift=0.0, noise=0.01, inferences=64, seed=0):
        self.true = {"baseline": baseline_us, "quantized": quantized_us}
        self.drift, self.noise, self.inferences = drift, noise, inferences
        self.rng = np.random.default_rng(seed)
        self.calls = []

    def measure(self, name):
        self.calls.append(name)
        speed = np.exp(self.drift * np.sin(len(self.calls) / 3))
        return list(self.true[name] * speed * np.exp(self.rng.normal(0, self.noise, self.inferences)))


def test_the_ratio_is_told_in_spite_of_drift():
    found = compare(Machine(300, 100, drift=0.1).measure, seed=0)

    assert found.pairs == 9
    assert found.low < 3.0 < found.high
    assert found.speedup == pytest.approx(3, rel=0.15)
    assert found.verdict == "faster"


def test_models_are_interleaved_at_random_with_a_control():
    machine = Machine(300, 100)

    compare(machine.measure, seed=0, pairs=12)

    rounds = [tuple(machine.calls[i : i + 3]) for i in range(0, 36, 3)]
    assert all(sorted(names) == ["baseline", "baseline", "quantized"] for names in rounds)
    assert len(set(rounds)) == 3


def test_the_same_seed_gives_the_same_order_and_interval():
    assert compare(Machine(300, 100).measure, seed=5) == compare(Machine(300, 100).measure, seed=5)


def test_equal_models_are_within_noise_and_a_slower_one_is_slower():
    assert compare(Machine(100, 100).measure, seed=0).verdict == "within noise"
    assert compare(Machine(100, 130).measure, seed=0).verdict == "slower"


def test_a_control_that_leaves_the_band_makes_any_ratio_inconclusive():
    assert judge(low=2.9, high=3.1, control=1.0) == "faster"
    assert judge(low=2.9, high=3.1, control=1.2) == "inconclusive"
    assert judge(low=2.9, high=3.1, control=0.8) == "inconclusive"
    assert judge(low=0.9, high=1.2, control=1.0) == "inconclusive"


def test_the_intervals_cover_the_true_ratio_as_often_as_they_claim():
    covered = 0
    for seed in range(100):
        found = compare(
            Machine(200, 100, noise=0.1, inferences=1, seed=seed).measure, seed=seed, bootstrap=500
        )
        covered += found.low <= 2 <= found.high
    assert covered >= 88


def test_too_few_pairs_and_useless_latencies_are_refused():
    with pytest.raises(ConfigError, match="at least 9"):
        compare(Machine(1, 1).measure, seed=0, pairs=8)
    with pytest.raises(StageError, match="no usable latency"):
        compare(lambda name: [], seed=0)
    with pytest.raises(StageError, match="no usable latency"):
        compare(lambda name: [1.0, 0.0], seed=0)


@pytest.mark.parametrize(
    ("count", "p90", "p99"),
    [(1, False, False), (63, False, False), (64, True, False), (661, True, False), (662, True, True)],
)
def test_percentiles_need_their_samples(count, p90, p99):
    found = summarize(np.arange(1, count + 1))

    assert found.p50 == (count + 1) / 2
    assert (found.p90 is not None, found.p99 is not None) == (p90, p99)


def test_timings_print_the_line_that_benchmark_model_prints():
    line = str(summarize([120.0, 100.0, 110.0]))

    assert line == "Timings (microseconds): count=3 first=120 curr=110 min=100 max=120 avg=110 std=8"
    assert re.fullmatch(r"Timings \(microseconds\): (\w+=[\d.e+]+ ?)+", line)


@pytest.mark.parametrize("count", [1, 7, 101, 5000])
def test_ranked_latencies_go_from_the_lowest_to_the_highest(count):
    values = np.random.default_rng(0).permutation(np.arange(1, count + 1))
    ranked = summarize(values).ranked

    assert len(ranked) == min(count, 101)
    assert (ranked[0], ranked[-1]) == (1, count)
    assert list(ranked) == sorted(ranked)
    assert ranked[len(ranked) // 2] == pytest.approx(np.median(values), rel=0.02)
