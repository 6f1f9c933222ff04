"""The best candidates of a search: those that nothing beats in every objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.searching.objectives import cost_ratio, dominates, minimized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.searching.objectives import Figures, Outcome


BASELINE = -1
"""The number of the trial with the user's own settings, with which costs are compared."""


class Front:
    """The feasible trials that no other one dominates; of equal ones the first.

    A new trial is compared with the front alone, so that a long search spends little on it.
    """

    def __init__(self, objectives: tuple[str, ...]) -> None:
        self._objectives = objectives
        self._numbers: dict[tuple[float, ...], int] = {}

    def add(self, number: int, outcome: Outcome) -> None:
        """Add a trial that has ended."""
        if not outcome.is_feasible:
            return
        found = minimized(outcome.values(self._objectives), self._objectives)
        if found in self._numbers:
            self._numbers[found] = min(number, self._numbers[found])
        elif not any(dominates(other, found) for other in self._numbers):
            kept = {other: each for other, each in self._numbers.items() if not dominates(found, other)}
            self._numbers = {**kept, found: number}

    @property
    def numbers(self) -> list[int]:
        """The numbers of its trials, sorted."""
        return sorted(self._numbers.values())


def pareto_front(outcomes: Mapping[int, Outcome], objectives: tuple[str, ...]) -> list[int]:
    """Return the numbers of the trials on the front, sorted."""
    front = Front(objectives)
    for number, outcome in outcomes.items():
        front.add(number, outcome)
    return front.numbers


def by_cost(numbers: list[int], outcomes: Mapping[int, Outcome], objectives: tuple[str, ...]) -> list[int]:
    """Return trials, the cheapest first: by the mean share of what the user's own settings cost."""
    base = baseline(outcomes)
    if base is None:
        return numbers
    ratios = {number: cost_ratio(_figures(outcomes, number), base, objectives) for number in numbers}
    return sorted(numbers, key=lambda number: (ratios[number], number))


def baseline(outcomes: Mapping[int, Outcome]) -> Figures | None:
    """Return the figures of the user's own settings, None if they gave no model."""
    return outcomes[BASELINE].figures if BASELINE in outcomes else None


def beats(outcome: Outcome, base: Figures, objectives: tuple[str, ...]) -> tuple[int, int]:
    """Return in how many objectives a trial is better than other figures, and in how many worse."""
    own = minimized(outcome.values(objectives), objectives)
    others = minimized(tuple(map(base.of, objectives)), objectives)
    pairs = list(zip(own, others, strict=True))
    return sum(a < b for a, b in pairs), sum(a > b for a, b in pairs)


def spread(
    front: list[int], outcomes: Mapping[int, Outcome], objectives: tuple[str, ...], most: int
) -> list[int]:
    """Return at most so many trials of a front: the cheapest, then each time the one farthest from all taken.

    Distances are between values scaled by their spread over the front.
    """
    ordered = by_cost(front, outcomes, objectives)
    if len(ordered) <= most:
        return ordered
    values = np.array([outcomes[number].values(objectives) for number in ordered])
    span = np.ptp(values, axis=0)
    values = values / np.where(span > 0, span, 1)
    taken = [0][:most]
    while len(taken) < most:
        nearest = np.min(np.linalg.norm(values[:, None] - values[taken], axis=2), axis=1)
        taken.append(int(nearest.argmax()))
    return [ordered[place] for place in taken]


def _figures(outcomes: Mapping[int, Outcome], number: int) -> Figures:
    figures = outcomes[number].figures
    assert figures is not None
    return figures
