"""Which training samples are distributed as inputs in the field are."""

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
"""The share of each trait that is as in the training samples, so that no sample has no chance."""


@dataclass(frozen=True)
class Match:
    """The choice.

    Attributes:
        places: of training samples, int64 (k,), ascending.
        uncovered: for each trait the share of the field that is where training samples are none or too few.
    """

    places: NDArray[np.int64]
    uncovered: tuple[float, ...]


def choose_like(
    traits: Sequence[NDArray[np.int64]], field: Sequence[NDArray[np.float64]], count: int, seed: int
) -> Match:
    """Choose training samples whose traits are distributed as they are in the field.

    Of the field only each trait's own distribution is known. Weights that give the training samples all of
    these are found by fitting one after the other, round and round (iterative proportional fitting, Deming
    and Stephan 1940); samples are drawn by these weights, each at most once. What the field has where
    training samples are none or too few is taken from the nearest place that has some left.

    Args:
        traits: of each trait int64 (n,): which bin a training sample is in; the last is met most exactly.
        field: of each trait (bins,) counts or shares in the field.
        count: how many samples to choose; all where there are fewer.
        seed: of the draw.

    Raises:
        CalibrationError: there is nothing to choose from or like.
    """
    if not traits or not len(traits[0]) or any(shares.sum() <= 0 for shares in field):
        msg = "there are no training samples, or the field's statistics are empty; give some"
        raise CalibrationError(msg)
    samples = len(traits[0])
    wanted, uncovered = zip(
        *(
            _covered(np.bincount(trait, minlength=len(shares)), shares / shares.sum(), count)
            for trait, shares in zip(traits, field, strict=True)
        ),
        strict=True,
    )
    weights = np.full(samples, 1 / samples)
    for _ in range(ROUNDS):
        for trait, shares in zip(traits, wanted, strict=True):
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
    """The field's shares as far as samples reach, and how much had to be taken elsewhere.

    Args:
        samples: (bins,) how many training samples each bin has.
        shares: (bins,) of the field.
        count: how many are to be chosen.
    """
    room = samples / count
    wanted = np.minimum(shares, room)
    missing = shares - wanted
    room -= wanted
    for bin_ in np.flatnonzero(missing):
        for other in np.argsort(np.abs(np.arange(len(shares)) - bin_), kind="stable"):
            moved = min(missing[bin_], room[other])
            wanted[other] += moved
            room[other] -= moved
            missing[bin_] -= moved
    uncovered = float(np.maximum(shares - samples / count, 0).sum())
    return (1 - EVEN) * wanted + EVEN * samples / samples.sum(), uncovered


def _draw(
    weights: NDArray[np.float64], order: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Systematic sampling: each sample's chance is its weight times ``count``, and at most 1.

    Whatever ``order`` puts side by side gets its share almost exactly.
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
