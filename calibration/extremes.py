"""Checks of the range that each tensor reaches on calibration samples, from the extremes of each sample.

With the smallest and the largest value of each sample, the min-max range of any subset follows without
another inference. All ranges contain zero, as those of int8 tensors do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SUBSETS = 4
TRIMMED = 0.01
"""Share of the samples, the most extreme ones at each end, that is left out of the trimmed range."""


@dataclass(frozen=True)
class Extremes:
    """The extremes of each sample in each tensor.

    Attributes:
        low: float (n, tensors), the smallest value.
        high: float (n, tensors), the largest.
    """

    low: Floats
    high: Floats

    @classmethod
    def of(cls, low: NDArray[np.float32], high: NDArray[np.float32]) -> Extremes:
        """Return extremes that contain zero."""
        return cls(np.minimum(low, 0).astype(np.float64), np.maximum(high, 0).astype(np.float64))

    def __len__(self) -> int:
        return len(self.low)

    def take(self, places: NDArray[np.int64] | slice) -> Extremes:
        """Return the extremes of some samples."""
        return Extremes(self.low[places], self.high[places])

    def of_tensors(self, places: NDArray[np.int64]) -> Extremes:
        """Return the extremes in some tensors."""
        return Extremes(self.low[:, places], self.high[:, places])

    def as_one(self, groups: Sequence[NDArray[np.int64]]) -> Extremes:
        """Return the extremes of each sample in groups of tensors, each given by their places."""
        low = np.stack([self.low[:, places].min(axis=1) for places in groups], axis=1)
        return Extremes(low, np.stack([self.high[:, places].max(axis=1) for places in groups], axis=1))

    def widths(self) -> Floats:
        """Return the width of the min-max range of each tensor, (tensors,)."""
        width: Floats = self.high.max(axis=0) - self.low.min(axis=0)
        return width


@dataclass(frozen=True)
class Influence:
    """How much of each tensor's range is due to single samples.

    Attributes:
        share: (tensors,) by which share the range shrinks if the most influential sample is left out.
        sample: int64 (tensors,) the place of that sample.
        trimmed: (tensors,) by which share it shrinks without the 1 % most extreme samples at each end.
    """

    share: Floats
    sample: NDArray[np.int64]
    trimmed: Floats


def influence(found: Extremes, widths: Floats) -> Influence:
    """Leave out each sample in turn, and the most extreme ones together.

    Only the samples with the smallest and the largest value can change a min-max range. Leaving out one
    sample at a time is the jackknife (Quenouille 1956; Efron and Stein 1981).

    Args:
        found: extremes of each sample.
        widths: (tensors,) of the ranges that are used; a range that clips outliers does not depend on them.
    """
    samples = len(found)
    if samples < 2:
        zero = np.zeros(len(widths))
        return Influence(zero + 1, zero.astype(np.int64), zero)
    lows, highs = np.sort(found.low, axis=0), np.sort(found.high, axis=0)
    lowest, highest = found.low.argmin(axis=0), found.high.argmax(axis=0)
    shares = []
    for sample in (lowest, highest):
        low = np.where(sample == lowest, lows[1], lows[0])
        high = np.where(sample == highest, highs[-2], highs[-1])
        shares.append(np.maximum(1 - share_of(high - low, widths), 0))
    sample = np.where(shares[0] > shares[1], lowest, highest)
    left_out = min(math.ceil(TRIMMED * samples), samples - 1)
    trimmed = np.maximum(1 - share_of(highs[-1 - left_out] - lows[left_out], widths), 0)
    return Influence(np.maximum(*shares), sample, trimmed)


def spread(found: Extremes, seed: int, subsets: int = SUBSETS) -> Floats:
    """Return how far the widths over disjoint random subsets are apart, as a share of the whole width.

    Returns:
        (tensors,): 0 if all subsets have the same range; NaN if there are fewer samples than subsets.
    """
    if len(found) < subsets:
        return np.full(found.low.shape[1], np.nan)
    parts = np.array_split(np.random.default_rng(seed).permutation(len(found)), subsets)
    widths = np.stack([share_of(found.take(part).widths(), found.widths()) for part in parts])
    apart: Floats = widths.max(axis=0) - widths.min(axis=0)
    return apart


def beyond(others: Extremes, low: Floats, high: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Find how far other samples leave ranges.

    Args:
        others: extremes of the other samples.
        low: (tensors,), the ends of the ranges.
        high: likewise.

    Returns:
        For each tensor the largest distance from the range, as a share of its width, and the sample's place.
    """
    over = np.maximum(np.maximum(others.high - high, low - others.low), 0)
    sample, width = over.argmax(axis=0), high - low
    furthest = over.max(axis=0)
    shares: Floats = np.divide(furthest, width, out=np.zeros_like(furthest), where=width > 0)
    return shares, sample


def share_of(part: Floats, whole: Floats) -> Floats:
    """Return widths as a share of others; a range without width is covered by any other."""
    shares: Floats = np.divide(part, whole, out=np.ones_like(part), where=whole > 0)
    return shares
