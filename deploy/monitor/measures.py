"""How far two histograms are apart, and how often chance alone would put them so far.

Histograms are counts of equal bins. ``KS`` compares counts of samples, which are independent; ``PSI`` also
compares counts of tensor elements, of which those of one sample are not.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.monitor.statistics import Null

MIN_SHARE = 0.05
"""Minimum share of elements in each group of bins of the PSI; 10 to 20 groups are usual."""
EMPTY_SHARE = 1e-4
"""Share that an empty group counts as, because the PSI has a logarithm."""
MIN_EXPECTED = 5.0
"""Answers that a class must be expected to have for the chi-square distribution to hold; rarer are pooled."""
GRID = 161
MIN_STEP = 0.002


def ks(before: Sequence[float], now: Sequence[float]) -> tuple[float, float]:
    """Kolmogorov-Smirnov of two histograms of independent samples.

    The usual p-value is for continuous values and too large for bins, where a difference between their edges
    is not seen: here it is that of a Brownian bridge which is looked at in the edges only.

    Returns:
        The largest difference of the cumulated shares, and its p-value.
    """
    a, b = (np.asarray(counts, np.float64) for counts in (before, now))
    n, m = a.sum(), b.sum()
    difference = float(np.abs(np.cumsum(a) / n - np.cumsum(b) / m).max())
    shares = (np.cumsum(a) + np.cumsum(b))[:-1] / (n + m)
    return difference, _bridge_exceeds(difference * math.sqrt(n * m / (n + m)), shares)


def ks_needed(floor: float, before: int, alpha: float) -> int | None:
    """Samples from which a KS difference of ``floor`` is significant; None: no number is enough."""
    critical = math.sqrt(-math.log(alpha / 2) / 2)
    return _needed((floor / critical) ** 2, before)


def _bridge_exceeds(height: float, times: NDArray[np.float64]) -> float:
    """How often a Brownian bridge is beyond ``height`` in one of ``times``, each in 0..1."""
    if height <= 0.2:  # below what any histograms of use have
        return 1.0
    kept = [0.0]
    for time in times:
        if time - kept[-1] >= MIN_STEP and time <= 1 - MIN_STEP:
            kept.append(float(time))
    places = (np.arange(GRID) + 0.5) / GRID * 2 * height - height
    width = 2 * height / GRID
    density: NDArray[np.float64] | None = None
    for start, end in itertools.pairwise(kept):
        deviation = math.sqrt((end - start) * (1 - end) / (1 - start))
        means = (places if density is not None else np.zeros(1)) * (1 - end) / (1 - start)
        kernel = np.exp(-0.5 * ((places[:, None] - means[None]) / deviation) ** 2)
        kernel *= width / (deviation * math.sqrt(2 * math.pi))
        density = kernel @ (density if density is not None else np.ones(1))
    return 1.0 if density is None else float(np.clip(1 - density.sum(), 0, 1))


def edges_of(counts: Sequence[int]) -> list[int]:
    """Cut a baseline's bins into groups of at least ``MIN_SHARE`` each; where each group begins."""
    shares = np.asarray(counts, np.float64) / max(sum(counts), 1)
    edges, held = [0], 0.0
    for bin_, share in enumerate(shares):
        if held >= MIN_SHARE and shares[bin_:].sum() >= MIN_SHARE:
            edges.append(bin_)
            held = 0.0
        held += float(share)
    return edges


def grouped(counts: Any, edges: Sequence[int]) -> NDArray[np.float64]:
    """Return the counts (..., bins) of each group as shares of all, (..., groups)."""
    sums = np.add.reduceat(np.asarray(counts, np.float64), list(edges), axis=-1)
    return np.asarray(sums / np.maximum(sums.sum(axis=-1, keepdims=True), 1))


def psi(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Return the population stability index of two rows of shares."""
    p, q = np.maximum(before, EMPTY_SHARE), np.maximum(now, EMPTY_SHARE)
    return float(((p - q) * np.log(p / q)).sum())


def null_of(parts: Sequence[Sequence[int]], samples: Sequence[int]) -> dict[str, Any]:
    """Return how much the PSI of elements varies by chance, from disjoint parts of the baseline.

    To first order it is ``(1/n + 1/m)`` times a sum of squared normals, whose weights are the eigenvalues of
    the covariance of one sample's shares over their mean (Rao and Scott 1981). The weights' sum and sum of
    squares are enough to match a chi-square distribution to it (Satterthwaite 1946).

    Args:
        parts: the histograms of elements.
        samples: how many samples each part has.

    Returns:
        ``edges`` of the groups, ``weight`` and ``square``: the two sums.
    """
    edges = edges_of(np.sum(parts, axis=0).tolist())
    shares = grouped(parts, edges)
    mean = shares.mean(axis=0)
    scaled = (shares - mean) * np.sqrt(np.asarray(samples, np.float64))[:, None]
    scaled /= np.sqrt(np.maximum(mean, EMPTY_SHARE))
    covariance = scaled.T @ scaled / max(len(parts) - 1, 1)
    return {
        "edges": edges,
        "weight": round(float(np.trace(covariance)), 9),
        "square": round(float((covariance**2).sum()), 9),
    }


def psi_chance(size: float, null: Null, before: int, now: int) -> float:
    """Return the p-value of a PSI between ``before`` and ``now`` samples."""
    from scipy.stats import chi2

    weight, square = null.weight, null.square
    if weight <= 0 or square <= 0:
        return 0.0 if size > 0 else 1.0
    return float(chi2.sf(size * before * now / (before + now) * weight / square, weight**2 / square))


def psi_needed(floor: float, null: Null, before: int, alpha: float) -> int | None:
    """Samples from which a PSI of ``floor`` is significant; None: no number is enough."""
    from scipy.stats import chi2

    weight, square = null.weight, null.square
    if weight <= 0 or square <= 0:
        return 1
    return _needed(floor / (float(chi2.isf(alpha, weight**2 / square)) * square / weight), before)


def class_shift(before: Sequence[float], now: Sequence[float]) -> tuple[float, float]:
    """PSI of the classes' rates and the p-value of the chi-square test that they are the same."""
    from scipy.stats import chi2

    a, b = (np.asarray(counts, np.float64) for counts in (before, now))
    size = psi(a / a.sum(), b / b.sum())
    expected = (a + b) * min(a.sum(), b.sum()) / (a.sum() + b.sum())
    often = expected >= MIN_EXPECTED
    rows = np.stack([np.append(counts[often], counts[~often].sum()) for counts in (a, b)])
    rows = rows[:, rows.sum(axis=0) > 0]
    if rows.shape[1] < 2:
        return size, 1.0
    model = rows.sum(axis=1, keepdims=True) * rows.sum(axis=0) / rows.sum()
    return size, float(chi2.sf(((rows - model) ** 2 / model).sum(), rows.shape[1] - 1))


def class_needed(floor: float, classes: int, before: int, alpha: float) -> int | None:
    """Samples from which a PSI of ``floor`` over the classes is significant; None: no number is enough."""
    from scipy.stats import chi2

    return _needed(floor / float(chi2.isf(alpha, max(classes - 1, 1))), before)


def quantile_ratio(
    before: Sequence[int], now: Sequence[int], quantile: float, step: float, alpha: float
) -> tuple[float, float, float]:
    """How a quantile of latencies moved.

    Args:
        before: counts of bins, each ``step`` times as far as the one before.
        now: likewise.
        quantile: in 0..1.
        step: the ratio of the bins.
        alpha: one less the interval's confidence.

    Returns:
        The ratio of now to before, and the ends of its interval, by order statistics of both (conservative).
    """
    from scipy.special import ndtri

    ends = []
    for counts in (before, now):
        n = int(sum(counts))
        reach = float(ndtri(1 - alpha / 4)) * math.sqrt(quantile * (1 - quantile) / n) + 1 / n
        at = (quantile, max(quantile - reach, 0.0), min(quantile + reach, 1.0))
        ends.append([_place(counts, share) for share in at])
    (a, a_low, a_high), (b, b_low, b_high) = ends
    return step ** (b - a), step ** (b_low - a_high), step ** (b_high - a_low)


def latency_needed(quantile: float, alpha: float) -> int:
    """Inferences from which the interval of a quantile's order statistic does not end in the largest."""
    from scipy.special import ndtri

    return math.ceil(float(ndtri(1 - alpha / 4)) ** 2 * quantile / (1 - quantile)) + 1


def quantile_of(counts: Sequence[int], quantile: float, lowest: float, step: float) -> float:
    """A quantile of a histogram with growing bins, in its unit."""
    return float(lowest * step ** _place(counts, quantile))


def _place(counts: Sequence[int], share: float) -> float:
    """Return the position of a quantile, in bins."""
    cumulated = np.cumsum(np.asarray(counts, np.float64))
    target = share * cumulated[-1]
    bin_ = min(int(np.searchsorted(cumulated, target)), len(counts) - 1)
    inside = counts[bin_] or 1
    return bin_ + float(np.clip(1 - (cumulated[bin_] - target) / inside, 0, 1))


def _needed(rate: float, before: int) -> int | None:
    """Return the smallest n for which ``1/n + 1/before`` is at most ``rate``."""
    left = rate - 1 / max(before, 1)
    return math.ceil(1 / left) if left > 0 else None
