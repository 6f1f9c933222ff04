"""The front of a search, as trials are added one by one."""

from __future__ import annotations

import random

from search_results import OBJECTIVES, outcome

from pipeline.searching.front import Front
from pipeline.searching.objectives import dominates, minimized


def test_a_front_does_not_depend_on_the_order_in_which_trials_end():
    dice = random.Random(0)
    outcomes = {
        number: outcome(
            channels=dice.choice([0.2, 0.4, 0.6]),
            zeros=dice.choice([0.5, 0.9]),
            missed={"drop": -dice.random()},
        )
        for number in range(30)
    }
    values = {number: minimized(each.values(OBJECTIVES), OBJECTIVES) for number, each in outcomes.items()}
    best = {
        number
        for number, own in values.items()
        if not any(dominates(other, own) for other in values.values())
        and number == min(each for each, other in values.items() if other == own)
    }
    for _ in range(5):
        front = Front(OBJECTIVES)
        for number in dice.sample(sorted(outcomes), len(outcomes)):
            front.add(number, outcomes[number])
        assert front.numbers == sorted(best)


def test_a_trial_beyond_a_limit_or_without_figures_is_not_on_the_front():
    front = Front(OBJECTIVES)
    front.add(0, outcome(missed={"drop": 0.1}))
    front.add(1, outcome(state="stopped", reason="slow"))
    assert front.numbers == []
