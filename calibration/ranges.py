"""Choose the range in which a tensor is quantized, from statistics of its values.

An int8 tensor has 256 values: 255 equal steps from the low end of its range to the high end. Values outside
of the range are clipped to the nearest end. Each range contains zero, which int8 must represent exactly, for
padding and for the zeros of a ReLU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from calibration.histogram import Statistics

STEPS = 255
PERCENTILE = 99.99

# For "mse": ends of ranges per factor of 2, and over how many of these; rounds of the search.
ENDS_PER_OCTAVE = 64
OCTAVES = 24
ROUNDS = 20

# For "entropy": thresholds per factor of 2, minimum share of values in range, smallest probability.
PER_OCTAVE = 8
KEPT = 0.99
NEVER = 1e-12


def choose_range(found: Statistics, method: str, percentile: float = PERCENTILE) -> tuple[float, float]:
    """Return the low and the high end of a range.

    Args:
        found: statistics of the values on calibration samples.
        method: a key of ``METHODS``.
        percentile: for the method "percentile": above 50, at most 100.

    Raises:
        CalibrationError: there is no finite value.
    """
    found.require_values()
    low, high = METHODS[method](found, percentile)
    return min(low, 0.0) + 0.0, max(high, 0.0)  # no minus zero


def min_max(found: Statistics, _percentile: float) -> tuple[float, float]:
    """Return the smallest and the largest value (Jacob et al. 2018, arXiv:1712.05877, section 3)."""
    return found.low, found.high


def moving_average(found: Statistics, _percentile: float) -> tuple[float, float]:
    """Return the exponential moving averages of the smallest and of the largest value of each sample.

    The average starts with the first sample; then ``average = 0.99 * average + 0.01 * value``, in the order
    of the data. Quantization-aware training tracks ranges in this way (Jacob et al. 2018, section 3.1), but
    by batches; by samples, the result does not depend on the size of a batch. Single outliers have little
    weight.
    """
    return found.average_low, found.average_high


def percentile(found: Statistics, percentile: float) -> tuple[float, float]:
    """Return the percentiles ``100 - percentile`` and ``percentile`` of all values.

    99.99 clips 0.01 % of the values at each end (McKinstry et al. 2018, arXiv:1809.04191; Wu et al. 2020,
    arXiv:2004.09602, section 4). Values count as spread evenly over their bin.
    """
    lower, upper = _edges(found)
    counts = found.histogram.counts
    below = np.cumsum(counts) - counts
    cut = found.histogram.total * (1 - percentile / 100)

    def value_at(rank: float) -> float:
        place = max(int(np.searchsorted(below, rank, side="right")) - 1, 0)
        share = min((rank - below[place]) / counts[place], 1.0)
        return float(lower[place] + share * (upper[place] - lower[place]))

    return value_at(cut), value_at(found.histogram.total - cut)


def mse(found: Statistics, _percentile: float) -> tuple[float, float]:
    """Return the range with the smallest sum of squared quantization errors, as the histogram shows it.

    A value inside of the range has the error ``step^2 / 12`` (rounding noise, Bennett 1948), or its own
    square if it is smaller than half a step and becomes zero; a value outside has its squared distance from
    the end. Banner et al. 2019 (arXiv:1810.05723) minimize such a sum for assumed distributions. Low and high
    end are optimized in turn, over 64 ends per factor of 2, from the smallest and largest value until neither
    changes.
    """
    lower, upper = _edges(found)
    counts = found.histogram.counts
    high_ends, high_errors = _clipping(upper, lower, counts)
    low_ends, low_errors = _clipping(-lower[::-1], -upper[::-1], counts[::-1])
    magnitudes = _magnitudes(found)
    starts, stops = magnitudes.edges()
    below = np.concatenate([[0], np.cumsum(magnitudes.counts)])
    powers = magnitudes.counts * (starts**2 + starts * stops + stops**2) / 3
    squares = np.concatenate([[0.0], np.cumsum(powers)])

    def rounding(steps: NDArray[np.float64]) -> NDArray[np.float64]:
        small = np.searchsorted(stops, steps / 2, side="right")
        result: NDArray[np.float64] = (below[-1] - below[small]) * steps**2 / 12 + squares[small]
        return result

    low, high = low_ends[-1], high_ends[-1]  # distances from zero
    for _ in range(ROUNDS):
        before = low, high
        high = high_ends[np.argmin(rounding((low + high_ends) / STEPS) + high_errors)]
        low = low_ends[np.argmin(rounding((low_ends + high) / STEPS) + low_errors)]
        if before == (low, high):
            break
    return -float(low), float(high)


def _clipping(
    outer: NDArray[np.float64], inner: NDArray[np.float64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ends of a range at one side of zero, and the squared error of the values beyond each.

    Args:
        outer: the end of each bin away from zero, ascending; bins of the other side are at most 0.
        inner: the other end of each bin.
        counts: of each bin.
    """
    ours = outer > 0
    outer, inner, counts = outer[ours], inner[ours], counts[ours]
    if not len(outer):
        return np.zeros(1), np.zeros(1)
    ends = np.append(0.0, outer[-1] * 2.0 ** (-np.arange(OCTAVES * ENDS_PER_OCTAVE)[::-1] / ENDS_PER_OCTAVE))
    middle, spread = (outer + inner) / 2, (outer - inner) ** 2 / 12
    first = np.searchsorted(middle, ends, side="right")

    def beyond(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of values of the bins beyond each end."""
        result: NDArray[np.float64] = np.append(np.cumsum((counts * values)[::-1])[::-1], 0.0)[first]
        return result

    ones, firsts, squares = beyond(np.ones_like(middle)), beyond(middle), beyond(middle**2 + spread)
    return ends, np.maximum(squares - 2 * ends * firsts + ends**2 * ones, 0.0)


def entropy(found: Statistics, _percentile: float) -> tuple[float, float]:
    """Return the range that minimizes the Kullback-Leibler divergence KL(P || Q) of the quantized values.

    As in Migacz 2017 ("8-bit Inference with TensorRT", GTC): for each threshold of the magnitude, P is the
    histogram up to the threshold, with the values beyond it added to the last bin, and Q is the histogram up
    to the threshold with the values of each quantization step spread evenly over its bins that are not empty.

    Differences from that source: zeros are left out, because they stay exact; the range is asymmetric, from
    ``max(low, -threshold)`` to ``min(high, threshold)``; bins have the relative width of the histogram, cut
    at the ends of steps, so that outliers do not make them coarse; there are 8 thresholds per factor of 2,
    from the largest magnitude down to the one that 99 % of the values do not exceed.
    """
    magnitudes = _magnitudes(found)
    if not magnitudes.total:
        return 0.0, 0.0
    starts, ends = magnitudes.edges()
    ends[-1] = largest = max(found.high, -found.low)
    below = np.cumsum(magnitudes.counts)
    least = ends[np.searchsorted(below, KEPT * magnitudes.total)]
    thresholds = largest * 2.0 ** (-np.arange(0, np.log2(largest / least) + 1e-9, 1 / PER_OCTAVE))
    edges = np.stack([starts, ends], axis=1).ravel()
    values_below = np.stack([below - magnitudes.counts, below], axis=1).ravel()

    def divergence(threshold: float) -> float:
        span = min(max(found.high, 0.0), threshold) - max(min(found.low, 0.0), -threshold)
        steps = np.linspace(0.0, threshold, max(1, round(STEPS * threshold / span)) + 1)
        return _divergence(edges, values_below, steps)

    best = min(thresholds, key=divergence)
    return max(found.low, -float(best)), min(found.high, float(best))


def _magnitudes(found: Statistics) -> Histogram:
    """Return the histogram of the absolute values that are not zero."""
    is_zero = found.histogram.bins == 0
    bins, places = np.unique(np.abs(found.histogram.bins[~is_zero]), return_inverse=True)
    counts = np.zeros(len(bins), np.int64)
    np.add.at(counts, places, found.histogram.counts[~is_zero])
    return Histogram(bins, counts)


def _divergence(
    edges: NDArray[np.float64], values_below: NDArray[np.int64], steps: NDArray[np.float64]
) -> float:
    """Return KL(P || Q) in nats; see ``entropy``.

    Args:
        edges: both ends of each bin, ascending.
        values_below: number of values below each edge.
        steps: ends of the quantization steps, from 0 to the threshold.
    """
    cuts = np.union1d(edges[edges < steps[-1]], steps)
    inside = np.diff(np.interp(cuts, edges, values_below))
    width = np.where(inside > 0, np.diff(cuts), 0.0)
    step = np.searchsorted(steps, cuts[:-1], side="right") - 1
    density = np.bincount(step, inside) / np.maximum(np.bincount(step, width), np.finfo(float).tiny)
    quantized = density[step] * width
    real = inside.copy()
    real[-1] += values_below[-1] - inside.sum()
    p, q = real / real.sum(), quantized / max(quantized.sum(), NEVER)
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], NEVER))))


def _edges(found: Statistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the bins, none of which goes beyond the smallest and the largest value."""
    lower, upper = found.histogram.edges()
    return np.clip(lower, found.low, found.high), np.clip(upper, found.low, found.high)


METHODS: dict[str, Callable[[Statistics, float], tuple[float, float]]] = {
    "min-max": min_max,
    "moving-average": moving_average,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}
