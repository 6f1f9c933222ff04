"""A search starts with what the plan recommends for its limits, and with known recipes."""

from __future__ import annotations

import pytest

from pipeline.artifacts import Source
from pipeline.config import GatesConfig
from pipeline.events import Warned, listening
from pipeline.planning.goal import Limit, read_goal
from pipeline.planning.plan import Recommendation, Row
from pipeline.searching.objectives import Limits
from pipeline.searching.space import space_of
from pipeline.searching.starts import KNOWN, nearest, starts_of
from pipeline.settings import make_config
from pipeline.targets import get_target

ARM64 = get_target("arm64")


@pytest.fixture
def model(tmp_path):
    """A file that is no model, which only a plan opens."""
    (tmp_path / "model.keras").write_bytes(b"no model")
    return tmp_path / "model.keras"


def starts(model, goal="", gates=None, steps=("channels", "weights", "clusters")):
    limits = Limits.of(gates or GatesConfig(), read_goal(goal, ARM64) if goal else None)
    config = make_config({"model": {"path": str(model)}, "data": {"source": "data.npz"}}, "test")
    source = Source(location=str(model), digest="0")
    return starts_of(space_of(steps), source, config, ARM64, limits, model.parent, model.parent / "store")


@pytest.fixture
def planned(monkeypatch):
    """What was planned for, by a planner that recommends half of the channels and 16 shared values."""

    class Planned:
        row = Row(
            recipe="channels50-cluster16-qat8", parameters=1, macs=1, size_bytes=1, download_bytes=1,
            instructions={}, float_instructions={},
        )  # fmt: skip
        recommendation = Recommendation(row=row)

    def plan_model(*given, goal, **others):
        goals.append(goal)
        return Planned

    goals = []
    monkeypatch.setattr("pipeline.searching.starts.plan_model", plan_model)
    return goals


def test_without_limits_that_can_be_predicted_nothing_is_planned(model):
    assert starts(model, "drop <= 1") == list(KNOWN)


def test_recipes_with_steps_that_are_not_varied_are_left_out(model):
    assert starts(model, steps=("weights",)) == [KNOWN[0], {"weights": 0.7}]


def test_what_the_plan_recommends_for_the_goal_comes_first(model, planned):
    found = starts(model, "rpi4 instructions <= 1.5M, drop <= 1")

    assert found == [{"channels": 0.5, "clusters": 16}, *KNOWN]
    assert [goal.limits for goal in planned] == [(Limit("instructions", 1_500_000, "rpi4"),)]


def test_a_gate_is_a_limit_to_plan_for_and_the_tighter_one_counts(model, planned):
    starts(model, "download <= 40k", GatesConfig(download_bytes=30_000))
    starts(model, "download <= 20k", GatesConfig(download_bytes=30_000))

    assert [goal.limits for goal in planned] == [(Limit("download", 30_000),), (Limit("download", 20_000),)]


def test_a_model_that_cannot_be_planned_is_a_warning(model):
    heard = []
    with listening(lambda record: heard.append(record.event)):
        assert starts(model, "download <= 40k") == list(KNOWN)

    warnings = [event.text for event in heard if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert "without the plan's recipe" in warnings[0]
    assert "model.keras" in warnings[0]


@pytest.mark.parametrize(
    ("recipe", "params"),
    [
        ("qat8", {}),
        ("channels65-weights75-cluster16-qat8", {"channels": 0.6, "weights": 0.8, "clusters": 16}),
        ("channels6-weights50-qat8", {"channels": 0.1, "weights": 0.5}),
    ],
)
def test_amounts_are_the_nearest_of_a_trial_and_no_milder_where_there_is_one(recipe, params):
    assert nearest(recipe) == params
