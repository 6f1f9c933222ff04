"""Choose training samples that are distributed like the inputs in the field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ROUNDS = 50
EVEN = 0.05
"""Share of the training distribution that is mixed into each trait, so that every sample can be drawn."""


@dataclass(frozen=True)
class Match:
    """The chosen training samples.

    Attributes:
        places: row numbers of the training samples, int64 (k,), ascending.
        uncovered: for each trait, the share of the field in bins with no or too few training samples.
    """

    places: NDArray[np.int64]
    uncovered: tuple[float, ...]


def choose_like(
    traits: Sequence[NDArray[np.int64]], field: Sequence[NDArray[np.float64]], count: int, seed: int
) -> Match:
    """Choose training samples whose traits are distributed as in the field.

    Only the marginal distribution of each trait in the field is known. Iterative proportional fitting (Deming
    and Stephan 1940) finds weights of the training samples with these marginals, and samples are drawn by
    weight, each at most once. For field bins with no or too few training samples, the nearest bins with
    remaining samples are used.

    Args:
        traits: for each trait int64 (n,), the bin of each training sample; the last trait is matched best.
        field: for each trait (bins,), counts or shares in the field.
        count: number of samples to choose; all if there are fewer.
        seed: random seed.

    Raises:
        CalibrationError: there are no training samples, or the field statistics are empty.
    """
    if not traits or not len(traits[0]) or any(shares.sum() <= 0 for shares in field):
        msg = "there are no training samples, or the field statistics are empty"
        raise CalibrationError(msg)
    samples = len(traits[0])
    quotas, uncovered = zip(
        *(
            _covered(np.bincount(trait, minlength=len(shares)), shares / shares.sum(), count)
            for trait, shares in zip(traits, field, strict=True)
        ),
        strict=True,
    )
    weights = np.full(samples, 1 / samples)
    for _ in range(ROUNDS):
        for trait, shares in zip(traits, quotas, strict=True):
            there = np.bincount(trait, weights, minlength=len(shares))
            weights *= np.divide(shares, there, out=np.zeros_like(there), where=there > 0)[trait]
            weights /= weights.sum()
    rng = np.random.default_rng(seed)
    order = rng.permutation(samples)
    order = order[np.argsort(traits[-1][order], kind="stable")]
    return Match(_draw(weights, order, min(count, samples), rng), uncovered)


def _covered(
    samples: NDArray[np.int64], shares: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], float]:
    """Return the field's shares as far as the samples suffice, and the share moved to other bins.

    Args:
        samples: (bins,) number of training samples in each bin.
        shares: (bins,) shares in the field.
        count: number of samples to choose.
    """
    room = samples / count
    quotas = np.minimum(shares, room)
    missing = shares - quotas
    room -= quotas
    for bin_ in np.flatnonzero(missing):
        for other in np.argsort(np.abs(np.arange(len(shares)) - bin_), kind="stable"):
            moved = min(missing[bin_], room[other])
            quotas[other] += moved
            room[other] -= moved
            missing[bin_] -= moved
    uncovered = float(np.maximum(shares - samples / count, 0).sum())
    return (1 - EVEN) * quotas + EVEN * samples / samples.sum(), uncovered


def _draw(
    weights: NDArray[np.float64], order: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw by systematic sampling: the chance of a sample is its weight times ``count``, at most 1.

    Samples that are adjacent in ``order`` get their joint share almost exactly.
    """
    chances = np.minimum(weights * count, 1.0)
    for _ in range(len(weights)):
        free = chances < 1
        left = count - (~free).sum()
        if not free.any() or abs(chances[free].sum() - left) < 1e-9:
            break
        chances[free] = np.minimum(chances[free] * left / chances[free].sum(), 1.0)
    ends = np.cumsum(chances[order])
    picks = np.minimum(rng.random() + np.arange(count), ends[-1] - 1e-9)
    return np.sort(order[np.searchsorted(ends, picks, side="right")])
