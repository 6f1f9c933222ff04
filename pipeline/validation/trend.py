"""Estimate growth over a long run: a slope with its 95 % interval.

On a shared machine single values jump by factors and neighbours resemble each other, so least squares and
its interval are wrong twice. The slope is the median of all pairs' slopes (Theil 1950, Sen 1968), which a
burst on the machine or one step of the allocator does not move; its interval is the one that belongs to
Kendall's rank test, widened by what the ranks' autocorrelation takes from the number of independent values
(Hamed and Rao 1998), over the lags up to the first that is not positive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Z95 = 1.959964


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Growth for each unit of the abscissa, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def times(self, units: float) -> Trend:
        """Return the growth over so many units."""
        return Trend(value=self.value * units, low=self.low * units, high=self.high * units)


def trend(at: NDArray[np.float64], values: NDArray[np.float64]) -> Trend | None:
    """Return the slope of ``values`` (n,) over ``at`` (n,), which rises; None below ten values."""
    count = len(values)
    if count < 10:
        return None
    before, after = np.triu_indices(count, 1)
    slopes = np.sort((values[after] - values[before]) / (at[after] - at[before]))
    value = float(np.median(slopes))
    spread = math.sqrt(count * (count - 1) * (2 * count + 5) / 18 * _inflation(values - value * at))
    reach = Z95 * spread / 2
    middle = (len(slopes) - 1) / 2
    low = slopes[max(0, math.floor(middle - reach))]
    high = slopes[min(len(slopes) - 1, math.ceil(middle + reach))]
    return Trend(value=value, low=float(low), high=float(high))


def _inflation(residuals: NDArray[np.float64]) -> float:
    """Return how much larger the rank statistic's variance is than that of independent values; at least 1."""
    count = len(residuals)
    ranks = np.argsort(np.argsort(residuals, kind="stable"), kind="stable").astype(np.float64)
    ranks -= ranks.mean()
    total = float(ranks @ ranks)
    factor = 1.0
    for lag in range(1, count // 4 + 1):
        correlation = float(ranks[lag:] @ ranks[:-lag]) / total
        if correlation <= 0:
            break
        weight = (count - lag) * (count - lag - 1) * (count - lag - 2)
        factor += 2 * weight * correlation / (count * (count - 1) * (count - 2))
    return factor
