"""Ranking metrics with the influence of each sample; ties are handled exactly.

An int8 output has at most 256 values, so ties are frequent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tasks.evidence import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Ranking = tuple[float, NDArray[np.float64]]


def at_chance_note(area: float, name: str = "AUC", *, fix: str) -> str:
    """Return the note on a float model whose area under the ROC curve, in percent, is no better than 50 %."""
    return f"the float model's {name} of {area:.1f} % is not measurably better than chance (50 %): {fix}"


def auc(scores: NDArray[Any], positive: NDArray[np.bool_]) -> Ranking:
    """Return the area under the ROC curve, 0..1, and its influences (n,).

    It is the share of pairs of a positive and a negative that are in the right order, a tie counting half.
    The influences are DeLong's placements (1988).

    Args:
        scores: (n,), higher for what should be positive.
        positive: (n,), with at least one of either kind.
    """
    groups, positives, negatives = _tied(scores, positive)
    count, others = positives.sum(), negatives.sum()
    negatives_below = np.cumsum(negatives) - negatives / 2
    positives_above = count - np.cumsum(positives) + positives / 2
    area = float(positives @ negatives_below / (count * others))
    placement = np.where(positive, negatives_below[groups] / others, positives_above[groups] / count)
    influence = len(scores) / np.where(positive, count, others) * (placement - area)
    return area, influence


def average_precision(scores: NDArray[Any], positive: NDArray[np.bool_]) -> Ranking:
    """Return the average precision, 0..1, and its influences (n,).

    It is the mean over the positives of the precision at their score as the threshold, without interpolation.

    Args:
        scores: (n,), higher for what should be positive.
        positive: (n,), with at least one true.
    """
    groups, positives, negatives = _tied(scores, positive)
    count = positives.sum()
    found = np.cumsum(positives[::-1])[::-1]
    predicted = np.cumsum((positives + negatives)[::-1])[::-1]
    value = float(positives @ (found / predicted) / count)
    # A sample counts among the positives found, and among all that is said, at each threshold up to its own.
    as_found = np.cumsum(positives / predicted)
    as_predicted = np.cumsum(positives * found / predicted**2)
    own = np.where(positive, (found / predicted)[groups] + as_found[groups] - value, 0)
    return value, len(scores) / count * (own - as_predicted[groups])


def estimate(
    name: str,
    ranking: Callable[[NDArray[Any], NDArray[np.bool_]], Ranking],
    baseline: NDArray[Any],
    quantized: NDArray[Any],
    positive: NDArray[np.bool_],
) -> Estimate:
    """A ranking of both models in points."""
    before, influence_before = ranking(baseline, positive)
    after, influence_after = ranking(quantized, positive)
    rarer = min(np.count_nonzero(positive), np.count_nonzero(~positive)) or len(positive)
    return Estimate(
        name=name,
        baseline=100 * before,
        quantized=100 * after,
        influence=100 * (influence_after - influence_before),
        reach=50 * len(positive) / rarer,  # moved past half of the others
    )


def has_both(positive: NDArray[np.bool_]) -> bool:
    """Return whether there are positives and negatives to rank."""
    return bool(positive.any() and not positive.all())


def chance_area(positive: NDArray[np.bool_]) -> float:
    """Return the area that scores without any skill stay below in 97.5 % of samples such as these."""
    count, others = np.count_nonzero(positive), np.count_nonzero(~positive)
    return float(0.5 + 1.96 * np.sqrt((count + others + 1) / (12 * count * others)))


def _tied(
    scores: NDArray[Any], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Return each sample's group of equal scores, ascending, and each group's positives and negatives."""
    _, groups = np.unique(scores, return_inverse=True)
    everything = np.bincount(groups).astype(np.float64)
    positives = np.bincount(groups, weights=positive).astype(np.float64)
    return groups, positives, everything - positives
