"""Figures, limits and the front."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic_trials import figures_of

from pipeline.config import GatesConfig
from pipeline.errors import ConfigError
from pipeline.planning.goal import read_goal
from pipeline.searching.front import BASELINE, beats, by_cost, pareto_front, spread
from pipeline.searching.objectives import Limits, Outcome, dominates, minimized, objectives_of
from pipeline.targets import get_target

TARGET = get_target("arm64")
ALL = objectives_of(TARGET, ())
SETTINGS = {"compress": [], "quantize": {"method": "qat"}}
FIGURES = figures_of(SETTINGS)


def outcome(missed=0.0, **changes):
    figures = replace(FIGURES, **changes)
    return Outcome(state="complete", recipe="r", seconds=1.0, figures=figures, missed={"drop": missed})


def test_all_objectives_are_those_of_the_model_and_the_instructions_of_each_device():
    assert ALL == ("score", "robustness", "download", "memory", "rpi4 instructions", "rpi5 instructions")
    assert objectives_of(TARGET, ("download", "score")) == ("score", "download")


def test_an_unknown_objective_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'download'"):
        objectives_of(TARGET, ("downlod",))


@pytest.mark.parametrize(
    ("changes", "limit", "share"),
    [
        ({"drop": 1.5}, "drop", 0.5),
        ({"worst": 3.0}, "shift", 0.5),
        ({"size_ratio": 0.75}, "size ratio", 0.5),
        ({"download_bytes": 60_000}, "download", 0.5),
        ({"instructions": {"rpi4": 3_000_000, "rpi5": 1}}, "goal rpi4 instructions", 1.0),
        ({"size_bytes": 110_000}, "goal size", 0.1),
    ],
)
def test_a_missed_limit_says_by_how_much_of_itself(changes, limit, share):
    goal = read_goal("rpi4 instructions <= 1.5M, size <= 100k", TARGET)
    limits = Limits.of(GatesConfig(download_bytes=40_000), goal)
    assert limits.missed(replace(FIGURES, **changes))[limit] == pytest.approx(share)


def test_the_size_of_a_small_file_misses_no_limit_as_it_fails_no_gate():
    limits = Limits.of(GatesConfig(), None)
    assert limits.missed(replace(FIGURES, size_bytes=20_000, size_ratio=0.9))["size ratio"] == 0
    assert limits.missed(replace(FIGURES, size_bytes=40_000, size_ratio=0.9))["size ratio"] > 0


def test_the_drop_of_a_goal_is_kept_where_it_is_the_smaller_one():
    goal = read_goal("drop <= 0.3", TARGET)
    assert Limits.of(GatesConfig(), goal).drop_points == 0.3
    assert Limits.of(GatesConfig(accuracy_drop_points=0.1), goal).drop_points == 0.1


def test_the_front_has_what_nothing_dominates_without_what_misses_a_limit():
    objectives = ("score", "download")
    outcomes = {
        0: outcome(score=90.0, download_bytes=100),
        1: outcome(score=91.0, download_bytes=90),
        2: outcome(score=80.0, download_bytes=10),
        3: outcome(score=99.0, download_bytes=1, missed=0.1),
        4: Outcome(state="refused", recipe="r", seconds=0.0, reason="no"),
        5: outcome(score=91.0, download_bytes=90),
    }
    assert pareto_front(outcomes, objectives) == [1, 2]


def test_the_front_agrees_with_brute_force():
    rng = np.random.default_rng(0)
    outcomes = {
        number: outcome(score=float(a), robustness=float(b), download_bytes=int(c))
        for number, (a, b, c) in enumerate(rng.integers(0, 6, (60, 3)))
    }
    objectives = ("score", "robustness", "download")
    values = {n: minimized(each.values(objectives), objectives) for n, each in outcomes.items()}
    best = {v for v in values.values() if not any(dominates(o, v) for o in values.values())}
    assert {values[number] for number in pareto_front(outcomes, objectives)} == best
    assert len(pareto_front(outcomes, objectives)) == len(best)


def test_the_cheapest_comes_first_and_costs_are_shares_of_the_users_own_model():
    outcomes = {
        BASELINE: outcome(),
        0: outcome(download_bytes=1_000, memory_bytes=100),
        1: outcome(download_bytes=40_000),
        2: outcome(download_bytes=41_000),
    }
    assert by_cost([0, 1, 2], outcomes, ALL) == [0, 1, 2]
    assert beats(outcomes[1], FIGURES, ALL) == (1, 0)


def test_of_a_large_front_the_cheapest_and_what_differs_most_are_built():
    outcomes = {n: outcome(score=90.0 + n, download_bytes=1_000 * (n + 1)) for n in range(9)}
    outcomes[BASELINE] = outcome()
    objectives = ("score", "download")
    assert spread(list(range(9)), outcomes, objectives, 3) == [0, 8, 4]
    assert spread([0, 1], outcomes, objectives, 3) == [0, 1]
    assert spread([0, 1], outcomes, objectives, 0) == []


def test_an_outcome_is_read_as_it_was_written():
    whole = replace(outcome(), compressed=(1.0, 2.0), steps=({"stage": "load", "seconds": 1.0},))
    assert Outcome.from_dict(whole.to_dict()) == whole
    refused = Outcome(state="refused", recipe="r", seconds=0.0, reason="no")
    assert Outcome.from_dict(refused.to_dict()) == refused
