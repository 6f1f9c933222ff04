"""Which trials go on after their compression: asynchronous successive halving of several objectives.

Li et al., 2020, arXiv:1810.05934, in the brackets of Hyperband (Li et al., 2018, arXiv:1603.06560), with
non-dominated sorting in place of one value (Schmucker et al., 2021, arXiv:2106.12639). Optuna's pruners take
one objective only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.searching.objectives import dominates

if TYPE_CHECKING:
    from collections.abc import Sequence

REDUCTION = 3
"""One of so many goes on."""
TURNS = 5
"""One trial of so many is in Hyperband's bracket without early stops, so that a recipe that gains late has a
chance."""


def may_stop(trial: int) -> bool:
    """Return whether a trial may be stopped after its compression."""
    return trial % TURNS < TURNS - 1


def goes_on(own: tuple[float, ...], others: Sequence[tuple[float, ...]]) -> bool:
    """Return whether a trial is among the best third.

    Trials are compared by the number of fronts that are before theirs, so that one which nothing dominates
    always goes on.

    Args:
        own: values to be minimized.
        others: those of other trials.
    """
    better = _before(own, others)
    return better < max((len(others) + 1) / REDUCTION, 1)


def _before(own: tuple[float, ...], others: Sequence[tuple[float, ...]]) -> int:
    """Return how many trials are in fronts before one's own."""
    left, before = [own, *others], 0
    while left:
        front = [each for each in left if not any(dominates(other, each) for other in left)]
        if own in front:
            return before
        before += len(front)
        left = [each for each in left if each not in front]
    return before
