"""The best candidates of a search: those that nothing beats in every objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.search.objectives import cost_ratio, dominates, minimized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.search.objectives import Figures, Outcome


BASELINE = -1
"""The number of the trial with the user's own settings, with which costs are compared."""


def pareto_front(outcomes: Mapping[int, Outcome], objectives: tuple[str, ...]) -> list[int]:
    """Return the numbers of the feasible trials that no other one dominates; of equal ones the first."""
    values = {
        number: minimized(outcome.values(objectives), objectives)
        for number, outcome in sorted(outcomes.items())
        if outcome.is_feasible
    }
    firsts = {found: number for number, found in reversed(values.items())}
    return sorted(
        number for found, number in firsts.items() if not any(dominates(other, found) for other in firsts)
    )


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
