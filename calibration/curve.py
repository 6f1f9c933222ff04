"""How many calibration samples are enough: ranges and errors over random subsets of growing size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.extremes import share_of
from calibration.histogram import Statistics
from calibration.ranges import STEPS, choose_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from calibration.extremes import Extremes
    from calibration.histogram import Histogram

    Floats = NDArray[np.float64]

RESAMPLES = 32
SMALLEST = 8
INTERVAL = (5, 95)
"""Percentiles between which 90 % of the resamples are."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Min-max ranges of random subsets of one size; means are over tensors.

    Attributes:
        samples: size of the subsets.
        coverage: mean width of the ranges, as a share of those of all samples that were run.
        worst: the same of the tensor that is covered least.
        growth: by which share ranges widen if as many samples are added; None if there are too few.
        error_db: mean quantization error of a tensor above that of its best range, in decibels.
        low_db, high_db: the interval that 90 % of the subsets are in.
    """

    samples: int
    coverage: float
    worst: float
    growth: float | None
    error_db: float
    low_db: float
    high_db: float


def curve(
    found: Extremes, histograms: Sequence[Histogram], seed: int, resamples: int = RESAMPLES
) -> tuple[CurvePoint, ...]:
    """Return min-max ranges and their errors over random subsets of 8, 16, 32, ... and of all samples.

    The range of a subset grows with its size for ever if the tails of the distribution are long. What
    matters is the error of all values, rounding and clipping, in the range of the subset. It is known from
    the histogram; no inference is needed. The subsets of one resample are nested.

    Args:
        found: extremes of each sample in each tensor.
        histograms: of each tensor, over all samples.
        seed: of the subsets.
        resamples: number of subsets of each size.
    """
    sizes = [SMALLEST * 2**step for step in range(32) if SMALLEST * 2**step < len(found)] + [len(found)]
    rng = np.random.default_rng(seed)
    shape = (len(sizes), resamples, found.low.shape[1])
    low, high = np.zeros(shape), np.zeros(shape)
    for resample in range(resamples):
        order = rng.permutation(len(found))
        for place, size in enumerate(sizes):
            low[place, resample] = found.low[order[:size]].min(axis=0)
            high[place, resample] = found.high[order[:size]].max(axis=0)
    covered = share_of(high - low, np.broadcast_to(found.widths(), shape))
    errors = excess_db(histograms, low, high)
    return tuple(
        _point(size, covered[place], errors[place], covered[place + 1] if 2 * size in sizes else None)
        for place, size in enumerate(sizes)
    )


def _point(size: int, covered: Floats, errors: Floats, doubled: Floats | None) -> CurvePoint:
    """Summarize the subsets of one size; arrays are (resamples, tensors)."""
    means = errors.mean(axis=1)
    low, high = np.percentile(means, INTERVAL)
    return CurvePoint(
        samples=size,
        coverage=float(covered.mean()),
        worst=float(covered.mean(axis=0).min()),
        growth=None if doubled is None else float((share_of(doubled, covered) - 1).mean()),
        error_db=float(means.mean()),
        low_db=float(low),
        high_db=float(high),
    )


def excess_db(histograms: Sequence[Histogram], low: Floats, high: Floats) -> Floats:
    """Return the errors of tensors in ranges above those in their best ranges, in decibels.

    Args:
        histograms: of each tensor.
        low: ends of the ranges, (..., tensors), at most 0.
        high: likewise, at least 0.
    """
    found = np.zeros_like(low)
    for at, histogram in enumerate(histograms):
        best = [np.array(end) for end in best_range(histogram)]
        if (least := float(squared_errors(histogram, *best))) > 0:
            ratio = squared_errors(histogram, low[..., at], high[..., at]) / least
            found[..., at] = 10 * np.log10(np.maximum(ratio, 1))
    return found


def best_range(histogram: Histogram) -> tuple[float, float]:
    """Return the range with the smallest squared error."""
    lower, upper = histogram.edges()
    return choose_range(Statistics(histogram, float(lower[0]), float(upper[-1]), samples=1), "mse")


def squared_errors(histogram: Histogram, low: Floats, high: Floats) -> Floats:
    """Return the sum of squared quantization errors of all values in each of several ranges.

    The error is ``step^2 / 12`` for each value that is not zero, plus the squared distance from the end for
    each value outside of the range; see ``calibration.ranges.mse``.

    Args:
        histogram: of the values.
        low: ends of the ranges, of any shape, at most 0.
        high: likewise, at least 0.
    """
    lower, upper = histogram.edges()
    middle, counts = (lower + upper) / 2, histogram.counts
    rounding = counts[histogram.bins != 0].sum() * ((high - low) / STEPS) ** 2 / 12
    clipped = _beyond(middle, counts, high) + _beyond(-middle[::-1], counts[::-1], -low)
    errors: Floats = rounding + clipped
    return errors


def _beyond(middle: Floats, counts: NDArray[np.int64], end: Floats) -> Floats:
    """Return the sum of squared distances of the values above each end; ``middle`` ascends."""
    sums = [np.append(np.cumsum((counts * middle**power)[::-1])[::-1], 0.0) for power in range(3)]
    ones, firsts, squares = (each[np.searchsorted(middle, end, side="right")] for each in sums)
    beyond: Floats = np.maximum(squares - 2 * end * firsts + end**2 * ones, 0.0)
    return beyond
