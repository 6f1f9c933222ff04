from types import SimpleNamespace

import pytest

from pipeline.compress.steps import COMPRESS
from pipeline.errors import ConfigError
from pipeline.planning.goal import read_goal
from pipeline.planning.plan import PLAIN, RECIPES, Planner, Row, steps_of
from pipeline.planning.untrained import UNTRAINED
from pipeline.report.plan import recommendation_text, short, statement
from pipeline.targets import get_target

ARM64 = get_target("arm64")


def row(recipe, share=1.0, download=1.0):
    counts = {"rpi4": round(3_000_000 * share), "rpi5": round(1_000_000 * share)}
    return Row(
        recipe=recipe, parameters=80_000, macs=9_000_000, size_bytes=round(90_000 * share),
        download_bytes=round(80_000 * share * download), instructions=counts, float_instructions=counts,
    )  # fmt: skip


@pytest.fixture
def planner(monkeypatch):
    """A planner whose recipes are predicted by their amounts."""

    def predicted(self, recipe):
        parts = dict.fromkeys(recipe.split("-"), 1)
        share = next((int(part[8:]) / 100 for part in parts if part.startswith("channels")), 1.0)
        zeros = next((int(part[7:]) / 100 for part in parts if part.startswith("weights")), 0.0)
        tried.append(recipe)
        return row(recipe, share, 1 - zeros)

    tried: list[str] = []
    monkeypatch.setattr(Planner, "_row", predicted)
    made = Planner(None, ARM64, {}, None)
    return SimpleNamespace(planner=made, tried=tried)


def test_the_mildest_recipe_within_the_limits_is_recommended(planner):
    goal = read_goal("rpi4 instructions <= 1.6M, download <= 25k", ARM64)

    found = planner.planner.recommend(goal)

    assert found.row.recipe == "channels50-weights50-qat8"
    assert found.row.figures() == {
        "rpi4 instructions": 1_500_000, "rpi5 instructions": 500_000, "download": 20_000, "size": 45_000,
    }  # fmt: skip
    assert not any("weights" in recipe for recipe in planner.tried[:-1])  # the rest was above its limit


def test_a_goal_that_is_met_already_needs_no_step(planner):
    assert planner.planner.recommend(read_goal("drop <= 1", ARM64)).row.recipe == PLAIN


def test_a_goal_out_of_reach_names_the_nearest(planner):
    goal = read_goal("rpi5 instructions <= 1k, download <= 1M", ARM64)

    found = planner.planner.recommend(goal)

    assert (found.row, found.missed) == (None, ("rpi5 instructions",))
    assert recommendation_text(found, goal, "pipeline build") == (
        "No recipe reaches the goal: channels6-qat8, the smallest that was tried, "
        "has rpi5 instructions 60,000."
    )


def test_a_recommendation_says_what_only_a_build_can_tell(planner):
    goal = read_goal("download <= 25k, drop <= 2", ARM64)

    text = recommendation_text(planner.planner.recommend(goal), goal, "pipeline build --target arm64")

    assert text.splitlines() == [
        "Recommended: weights75-qat8",
        "predicted: download 20,000",
        "only the build can tell the drop: its gate allows 2 points",
        (
            "pipeline build --target arm64 --recipe weights75-qat8 --set gates.accuracy_drop_points=2"
            " --set gates.download_bytes=25000"
        ),
    ]


def test_a_statement_says_what_is_not_bought():
    assert statement(row("weights75-qat8", download=0.4), row(PLAIN)) == (
        "download 2.5x smaller, file as large, 0 % faster on rpi4 and rpi5"
    )
    assert statement(row("channels50-qat8", 0.5), row(PLAIN)) == (
        "download 2.0x smaller, file 2.0x smaller, 2.0x fewer instructions on rpi4, "
        "2.0x fewer instructions on rpi5"
    )
    assert "5 % more instructions on rpi4" in statement(row("rank90-qat8", 1.05), row(PLAIN))


@pytest.mark.parametrize(
    ("number", "text"), [(999, "999"), (1000, "1.00k"), (93_632, "93.6k"), (1_199_417, "1.20M")]
)
def test_numbers_have_three_digits(number, text):
    assert short(number) == text


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_usual_recipes_are_of_steps_that_can_be_planned(recipe):
    assert {step.method for step in steps_of(recipe, {})} <= set(UNTRAINED)
    assert set(UNTRAINED) == set(COMPRESS)


def test_a_step_keeps_the_other_keys_of_the_settings():
    settings = {"compress": [{"method": "channels", "multiple": 4}]}

    [step] = steps_of("channels60-qat8", settings)

    assert (step.macs, step.multiple) == (0.6, 4)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("weights75-float32", "a plan is for int8"),
        ("weights75", "a plan is for int8"),
        ("weight75-qat8", "did you mean 'weights'"),
        ("channels200-qat8", "--recipe channels200-qat8: "),
    ],
)
def test_a_bad_recipe_is_refused(recipe, message):
    with pytest.raises(ConfigError, match=message):
        steps_of(recipe, {})
