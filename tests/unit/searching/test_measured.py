"""Short forms of the benchmarks of a search: what they count and how they judge."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from search_results import outcome, search_result

from pipeline.searching.front import BASELINE
from pipeline.searching.page import write_result
from pipeline.searching.search import open_trials
from pipeline.tasks.scoring import Gain
from pipeline.training.evidence import Gains

BENCHMARKS = Path(__file__).parents[3] / "benchmarks" / "search"


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    """Benchmarks import each other from their folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def lines(tmp_path):
    """Write events of a search, as (seconds, fields)."""

    def write(folder, *rows):
        text = [
            json.dumps({"time": f"2026-12-01T00:{int(s) // 60:02}:{s % 60:06.3f}Z", **row}) for s, row in rows
        ]
        (folder / "events.jsonl").write_text("\n".join(text) + "\n")
        return folder / "events.jsonl"

    return write


def test_with_three_seeds_of_three_a_search_has_a_larger_hypervolume_than_chance():
    import hypervolume

    options = argparse.Namespace(target="arm64", objective=[], lag=4, trials=30)
    objectives = hypervolume.objectives_of(hypervolume.get_target("arm64"), ())
    for seed in range(3):
        learned, chance = (
            hypervolume.hypervolume(hypervolume.simulated(sampler, seed, options), objectives)
            for sampler in ("tpe", "random")
        )
        assert learned > chance > 0


def test_a_candidate_that_is_worse_in_no_figure_and_better_in_two_is_counted(tmp_path, lines, capsys):
    import recipes

    found = search_result(trials=12, folder=tmp_path)
    found.outcomes[BASELINE] = outcome("weights50-qat8", channels=0.9, zeros=0.5)
    write_result(found, "arm64")
    begins = {"event": "progress", "task": "search", "seconds": 0.0}
    lines(
        tmp_path,
        (0, begins),
        (60, {"event": "trial_finished"}),
        (600, begins),
        (660, begins | {"seconds": 60}),
    )

    equal = Gain(0.0, -0.3, 0.3)
    facts = recipes.facts_of(tmp_path, gains=lambda number: Gains(equal, equal))
    recipes.show(facts)

    best = {row["number"] for row in facts["front"] if len(row["better"]) >= 2 and not row["worse"]}
    assert best
    assert facts["minutes"] == pytest.approx(2)  # the time in which nothing ran is left out
    assert facts["trials"] == 12
    assert f"| {sorted(best) or 'none'} |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gain", "better", "worse"),
    [
        (Gain(0.2, 0.1, 0.3), ["score"], ["download"]),
        (Gain(0.2, -0.1, 0.5), [], ["download"]),
        (Gain(-0.2, -0.3, -0.1), [], ["score", "download"]),
    ],
)
def test_a_score_is_better_or_worse_only_if_the_paired_interval_says_so(gain, better, worse):
    import recipes

    small, large = outcome("a", channels=0.5, zeros=0.5), outcome("b", channels=0.9, zeros=0.5)
    found = recipes.compare(large, small.figures, ("score", "download"), Gains(gain, None))

    assert found == (better, worse)


def test_a_search_that_has_not_judged_the_users_own_settings_yet_can_be_read(tmp_path, lines):
    import recipes

    found = search_result(trials=3, folder=tmp_path)
    found.outcomes.pop(BASELINE, None)
    front = [number for number in found.front if number != BASELINE]
    write_result(replace(found, front=front, validated=(), chosen=None), "arm64")
    lines(tmp_path, (0, {"event": "progress", "task": "search", "seconds": 0.0}))

    facts = recipes.facts_of(tmp_path, recipes.gains_over_own(tmp_path))

    assert (facts["own"], facts["front"], facts["trials"]) == (None, [], 3)


def test_what_a_driver_spends_is_measured_for_each_size_of_a_study(tmp_path):
    import driver

    rows = driver.grow(tmp_path, [3, 6])
    assert rows[6]["study bytes"] >= rows[3]["study bytes"] > 0
    assert driver.proposal_seconds("tpe", 2, [4]).keys() == {4}
    assert all(size > 0 for size in driver.sizes().values())


def test_a_stage_takes_six_requests_to_make_and_one_to_fetch():
    import traffic

    found = traffic.requests()
    assert [found[name] for name in found if name.startswith("requests")] == [6, 1, 0]


def test_rates_are_those_between_the_first_trial_and_the_last(tmp_path, lines):
    import workers

    events = lines(
        tmp_path,
        (10, {"event": "trial_started"}),
        (40, {"event": "trial_finished"}),
        (40, {"event": "trial_started"}),
        (70, {"event": "trial_finished"}),
    )
    assert workers.rate(events) == 120


def test_a_disturbed_search_with_another_front_or_a_trial_that_is_left_is_found_out():
    import kills

    alone = {"trials": 2, "states": {"COMPLETE": 2}, "recipes": ["a", "b"], "front": [0], "chosen": 0}
    assert kills.compare({"alone": alone, "killed": alone}, 2) == []
    left = alone | {"states": {"COMPLETE": 1, "RUNNING": 1}, "front": [1]}
    problems = "\n".join(kills.compare({"alone": alone, "killed": left}, 2))
    assert "RUNNING" in problems
    assert "another front" in problems


def test_the_cost_of_a_process_is_its_own_cpu_time_and_memory():
    import idle

    found = idle.measure(os.getpid(), 0.2)
    assert 0 <= found["cpu_share"] < 2
    assert found["pss_bytes"] > 0 < found["rss_bytes"]


@pytest.mark.parametrize("workers", [1, 2, 8, 100])
def test_enough_trials_are_open_to_keep_workers_busy_while_one_takes_long(workers):
    import utilization

    assert utilization.utilization(workers, open_trials(workers), 20, spread=0.5) > 0.9
