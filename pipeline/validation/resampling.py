"""Paired bootstrap intervals of metrics.

A metric's difference is linear in its influences, up to terms that vanish faster than the interval. Drawing
pairs again and again therefore needs one product of weights and influences for all metrics. A ratio such as
F1 stays defined in a resample that misses a rare class, which a plain bootstrap's would not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tasks.comparison import POINTS, Metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pipeline.tasks.evidence import Estimate

CONFIDENCE = 0.95
Z95 = 1.959964
# More samples are drawn in random groups: the variance of a mean is the same, the work is bounded.
MAX_UNITS = 10_000
SIGNIFICANT_DIGITS = 10
WEIGHTS_AT_A_TIME = 1_000_000


def with_intervals(estimates: Sequence[Estimate], *, seed: int, bootstrap: int) -> tuple[Metric, ...]:
    """Return the estimates as metrics with the paired 95 % intervals of their differences.

    Args:
        estimates: of the same samples in the same order.
        seed: of the resamples.
        bootstrap: how many resamples the intervals are made of.
    """
    influences = [estimate.influence for estimate in estimates if estimate.influence is not None]
    reaches = [estimate.reach for estimate in estimates if estimate.influence is not None]
    ends = iter(_ends(np.column_stack(influences), np.array(reaches), seed, bootstrap))
    metrics = []
    for estimate in estimates:
        difference = estimate.quantized - estimate.baseline
        interval: tuple[float, ...] = ()
        if estimate.influence is not None:
            interval = tuple(difference + end for end in next(ends))
        values = _rounded(estimate.baseline, estimate.quantized, difference, *interval)
        metrics.append(
            Metric(
                name=estimate.name,
                unit=estimate.unit,
                better=estimate.better,
                baseline=values[0],
                quantized=values[1],
                difference=values[2],
                low=values[3] if interval else None,
                high=values[4] if interval else None,
            )
        )
    return tuple(metrics)


def f1_changes(counts: NDArray[np.int64], samples: int, *, seed: int, bootstrap: int) -> tuple[Metric, ...]:
    """Return the paired difference of each class's F1 in points, with its 95 % interval.

    What a class's F1 of both models depends on is how often a sample is of the class, is said to be by the
    float model, and by the int8 model. Drawing pairs is drawing these counts. Half a sample lost and half a
    sample gained are added, so that few samples without a difference do not pass for certainty.

    Args:
        counts: (7, classes): of the class and found by both, by float alone, by int8 alone, by neither; of
            another class and said to be of this one by both, by float alone, by int8 alone.
        samples: all of them.
    """
    metrics = []
    for index, column in enumerate(counts.T):
        rng = np.random.default_rng((seed, index))
        smoothed = column + np.array([0, 0.5, 0.5, 0, 0, 0, 0])
        rest = max(samples - column.sum(), 0)
        p = np.append(smoothed, rest) / (smoothed.sum() + rest)
        before, after = _f1(column[:, None])
        drawn_before, drawn_after = _f1(rng.multinomial(samples, p, bootstrap).T[:7])
        change = drawn_after - drawn_before
        # The halves widen the interval and do not move its middle.
        centre = float(np.subtract(*_f1(smoothed[:, None])[::-1])[0])
        tail = 100 * (1 - CONFIDENCE) / 2
        difference = float(after[0] - before[0])
        low, high = np.percentile(change - centre, [tail, 100 - tail]) + difference
        values = _rounded(float(before[0]), float(after[0]), difference, float(low), float(high))
        metrics.append(
            Metric(
                name="F1", unit=POINTS, better="higher", baseline=values[0], quantized=values[1],
                difference=values[2], low=values[3], high=values[4],
            )
        )  # fmt: skip
    return tuple(metrics)


def _f1(counts: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """F1 in points of both models from counts (7, draws) as ``f1_changes`` has them; (draws,) each."""
    both, float_alone, int8_alone, neither, wrong_both, wrong_float, wrong_int8 = counts
    support = both + float_alone + int8_alone + neither
    found = (both + float_alone, both + int8_alone)
    predicted = (found[0] + wrong_both + wrong_float, found[1] + wrong_both + wrong_int8)
    first, second = (200 * f / np.maximum(support + s, 1e-9) for f, s in zip(found, predicted, strict=True))
    return first, second


def shown(metrics: Sequence[Metric], count: int | None = None) -> tuple[bool, ...]:
    """Return which metrics differ significantly (normal p from the interval, Holm).

    Args:
        metrics: with intervals.
        count: how many there were to choose these from, if they are those that differ most.
    """
    p = []
    for metric in metrics:
        assert metric.low is not None
        assert metric.high is not None
        deviation = (metric.high - metric.low) / (2 * Z95)
        sure = float(metric.difference == 0)
        p.append(math.erfc(abs(metric.difference) / deviation / math.sqrt(2)) if deviation else sure)
    more = max(0, (count or 0) - len(p))
    return holm([*p, *[1.0] * more])[: len(p)]


def holm(p: Sequence[float], level: float = 1 - CONFIDENCE) -> tuple[bool, ...]:
    """Return which hypotheses are rejected at a family-wise ``level`` (Holm 1979)."""
    refuted = [False] * len(p)
    for place, index in enumerate(np.argsort(p, kind="stable")):
        if p[index] > level / (len(p) - place):
            break
        refuted[index] = True
    return tuple(refuted)


def _rounded(*values: float) -> tuple[float, ...]:
    """Keep what does not depend on the order of additions, which is another on another processor."""
    size = max(abs(value) for value in values[:2])
    digits = SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(size)) if size else SIGNIFICANT_DIGITS
    return tuple(round(value, digits) for value in values)


def _ends(
    influences: NDArray[np.float64], reaches: NDArray[np.float64], seed: int, bootstrap: int
) -> list[tuple[float, float]]:
    """Return the central 95 % of what a resample adds to each difference; influences are (n, metrics)."""
    samples = len(influences)
    rng = np.random.default_rng(seed)
    units = _grouped(influences - influences.mean(axis=0), rng)
    pseudo = np.sqrt(0.5) * reaches
    units = np.vstack([units, pseudo, -pseudo])
    added = np.concatenate([weights @ units for weights in _weights(len(units), rng, bootstrap)]) / samples
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(added, [tail, 100 - tail], axis=0)
    return [(float(below), float(above)) for below, above in zip(low, high, strict=True)]


def _grouped(influences: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Sum the rows in at most ``MAX_UNITS`` random groups."""
    samples = len(influences)
    if samples <= MAX_UNITS:
        return influences
    starts = np.linspace(0, samples, MAX_UNITS, endpoint=False).astype(int)
    grouped: NDArray[np.float64] = np.add.reduceat(influences[rng.permutation(samples)], starts, axis=0)
    return grouped


def _weights(units: int, rng: np.random.Generator, bootstrap: int) -> Iterator[NDArray[np.float64]]:
    """Yield multinomial weights (resamples, units), ``bootstrap`` rows in all."""
    most = max(WEIGHTS_AT_A_TIME // units, 1)
    for start in range(0, bootstrap, most):
        rows = min(most, bootstrap - start)
        drawn = rng.integers(0, units, (rows, units)) + units * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * units)
        yield counts.reshape(rows, units).astype(np.float64)
