"""Proposals follow from the seed and from results, not from when results arrive."""

from __future__ import annotations

import pytest
from synthetic_trials import figures_of

from pipeline.config import GatesConfig
from pipeline.errors import ConfigError
from pipeline.searching.front import BASELINE, pareto_front
from pipeline.searching.objectives import Limits, Outcome, objectives_of
from pipeline.searching.proposals import SAMPLERS, Proposals
from pipeline.searching.space import STEPS, settings_with, space_of
from pipeline.searching.study import Study
from pipeline.targets import get_target

SPACE = space_of(STEPS)
OBJECTIVES = objectives_of(get_target("arm64"), ())
LIMITS = Limits.of(GatesConfig(), None)


def outcome_of(params):
    figures = figures_of(settings_with({"compress": [], "quantize": {}}, params))
    return Outcome(state="complete", recipe="r", seconds=0.0, figures=figures, missed=LIMITS.missed(figures))


def proposed(count, sampler="tpe", lag=2, seed=0, ahead=0):
    """Propose and evaluate; ``ahead`` results more than needed are known at each time."""
    proposals, outcomes, found = Proposals(SPACE, OBJECTIVES, sampler, lag, seed), {}, []
    for number in range(count):
        known = {each: outcomes[each] for each in range(min(number, number - lag + 1 + ahead)) if each >= 0}
        found.append(proposals.next(known))
        outcomes[number] = outcome_of(found[-1])
    return found


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_results_that_arrive_early_change_nothing(sampler):
    assert proposed(26, sampler) == proposed(26, sampler, ahead=1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_seed_proposes_other_trials(sampler):
    assert proposed(8, sampler) != proposed(8, sampler, seed=1)


def test_proposals_that_are_made_again_after_a_restart_are_the_same():
    before = proposed(20)
    again = Proposals(SPACE, OBJECTIVES, "tpe", 2, 0)
    outcomes = {number: outcome_of(params) for number, params in enumerate(before)}
    for number in range(15):
        again.next(outcomes, before[number])
    assert [again.next(outcomes) for _ in range(5)] == before[15:]


@pytest.mark.parametrize("lag", [2, 20])
def test_a_long_search_remembers_the_front_and_the_newest_trials(lag, monkeypatch):
    monkeypatch.setattr("pipeline.searching.proposals.REMEMBERED", 16)
    before = proposed(36, lag=lag)
    outcomes = {number: outcome_of(params) for number, params in enumerate(before)}
    again = Proposals(SPACE, OBJECTIVES, "tpe", lag, 0)
    for number in range(30):
        again.next(outcomes, before[number])
    assert [again.next(outcomes) for _ in range(6)] == before[30:]
    assert len(again._trials) <= 16
    results = {number: outcomes[number] for number in again._trials if number <= 35 - lag}
    assert min(results) in pareto_front(results, OBJECTIVES)


def test_a_learning_sampler_finds_a_better_front_than_chance():

    def best(sampler):
        costs = []
        for seed in range(3):
            trials = [outcome_of(params) for params in proposed(60, sampler, seed=seed)]
            feasible = [each.figures for each in trials if each.is_feasible]
            costs.append(min(each.download_bytes for each in feasible))
        return sum(costs)

    assert best("tpe") < best("random")


def test_a_study_of_other_settings_is_not_continued(tmp_path):
    Study(tmp_path, {"seed": 0, "goal": ""}, SPACE, OBJECTIVES)
    with pytest.raises(ConfigError, match="another seed"):
        Study(tmp_path, {"seed": 1, "goal": ""}, SPACE, OBJECTIVES)


def test_a_damaged_study_is_one_clear_error(tmp_path):
    (tmp_path / "study.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(ConfigError, match=r"study.db: not a study"):
        Study(tmp_path, {}, SPACE, OBJECTIVES)


def test_a_trial_without_an_outcome_is_open_again_and_told_once(tmp_path):
    study = Study(tmp_path, {}, SPACE, OBJECTIVES)
    params = proposed(1)[0]
    assert study.ask(params) == 0
    study = Study(tmp_path, {}, SPACE, OBJECTIVES)
    assert (study.open, study.params) == ([0], {0: params})
    study.put_back()
    study = Study(tmp_path, {}, SPACE, OBJECTIVES)
    study.tell(BASELINE, outcome_of(params))
    study.tell(0, outcome_of(params))
    study.tell(0, Outcome(state="refused", recipe="r", seconds=0.0))
    study = Study(tmp_path, {}, SPACE, OBJECTIVES)
    assert (study.open, study.finished) == ([], [0])
    assert study.outcomes[0] == study.outcomes[BASELINE] == outcome_of(params)
