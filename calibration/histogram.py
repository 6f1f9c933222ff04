"""Streamed statistics of a tensor: one pass over batches, in memory that does not grow with the samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEYS = 1 << 16
SIGN = 1 << 15
INFINITE = 0x7F80  # the upper bits of infinity; those of NaN are larger
DECAY = 0.99


@dataclass(frozen=True)
class Histogram:
    """Counts of float32 values in bins that are at most 1/128 as wide as the values in them.

    A bin contains the values with the same upper 16 bits: sign, exponent and 7 bits of the mantissa. The
    range of the values need not be known before, and outliers cost no resolution: of 2,048 bins of equal
    width, two would be left for all values that are a thousand times smaller than the largest. Histograms of
    parts of the data add up to the histogram of the whole.

    Attributes:
        bins: int32 (k,), ascending. Bin 0 contains zero; bin b > 0 the values from ``_magnitude(b)`` up to
            ``_magnitude(b + 1)``; bin -b the same values with a minus.
        counts: int64 (k,), at least 1 each.
    """

    bins: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Histogram:
        """Return the histogram of the finite values of an array of any shape."""
        bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
        counts = np.bincount(bits >> 16, minlength=KEYS)
        counts[INFINITE:SIGN] = counts[SIGN + INFINITE :] = 0
        positive, negative = counts[:SIGN], counts[SIGN:]
        positive[0] += negative[0]  # minus zero
        by_value = np.concatenate([negative[:0:-1], positive])
        found = np.flatnonzero(by_value)
        return cls((found - (SIGN - 1)).astype(np.int32), by_value[found].astype(np.int64))

    def __add__(self, other: Histogram) -> Histogram:
        bins = np.union1d(self.bins, other.bins)
        counts = np.zeros(len(bins), np.int64)
        for each in (self, other):
            counts[np.searchsorted(bins, each.bins)] += each.counts
        return Histogram(bins, counts)

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def edges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lower and the upper end of each bin, float64 (k,); both are 0 for bin 0."""
        inner = _magnitude(np.abs(self.bins)) * (self.bins != 0)
        outer = _magnitude(np.abs(self.bins) + 1) * (self.bins != 0)
        is_negative = self.bins < 0
        return np.where(is_negative, -outer, inner), np.where(is_negative, -inner, outer)


def _magnitude(bins: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the smallest value of each bin of positive values; at most the largest float32."""
    starts = (bins.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return np.minimum(starts, np.finfo(np.float32).max)


@dataclass
class Statistics:
    """What is known of the values of one tensor; infinite values and NaN are counted and otherwise ignored.

    Attributes:
        histogram: of all values.
        low: the smallest value; infinity before the first sample.
        high: the largest.
        average_low: moving average of the smallest value of each sample, ``DECAY`` of it kept per sample.
        average_high: likewise of the largest.
        samples: how many there were with at least one finite value.
        not_finite: how many values were infinite or NaN.
    """

    histogram: Histogram = field(default_factory=Histogram)
    low: float = np.inf
    high: float = -np.inf
    average_low: float = 0.0
    average_high: float = 0.0
    samples: int = 0
    not_finite: int = 0

    def update(self, values: NDArray[np.float32]) -> None:
        """Add a batch, float32 (n, ...), n samples in the order of the data."""
        rows = values.reshape(len(values), int(np.prod(values.shape[1:])))
        if not rows.size:
            return
        lows, highs = rows.min(axis=1), rows.max(axis=1)
        if not (np.isfinite(lows) & np.isfinite(highs)).all():
            finite = np.isfinite(rows)
            self.not_finite += int((~finite).sum())
            known = finite.any(axis=1)
            lows = np.where(finite, rows, np.inf).min(axis=1)[known]
            highs = np.where(finite, rows, -np.inf).max(axis=1)[known]
            if not len(lows):
                return
        self.average_low = self._averaged(self.average_low, lows)
        self.average_high = self._averaged(self.average_high, highs)
        self.samples += len(lows)
        self.low, self.high = min(self.low, float(lows.min())), max(self.high, float(highs.max()))
        self.histogram += Histogram.of(rows)

    def _averaged(self, average: float, values: NDArray[Any]) -> float:
        """Return the moving average with more samples; the first sample is where it starts."""
        start, rest = (average, values) if self.samples else (float(values[0]), values[1:])
        weights = (1 - DECAY) * DECAY ** np.arange(len(rest) - 1, -1, -1)
        return float(start * DECAY ** len(rest) + weights @ rest.astype(np.float64))

    def require_values(self) -> None:
        """Check that there is something to find a range in.

        Raises:
            CalibrationError: there was no finite value.
        """
        if not self.samples:
            msg = "it has no finite value on the calibration samples"
            raise CalibrationError(msg)
