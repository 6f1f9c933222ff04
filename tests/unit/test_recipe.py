"""Recipes: steps, amounts and quantization in one word."""

from __future__ import annotations

import pytest

from pipeline.compress.steps import COMPRESS
from pipeline.errors import ConfigError
from pipeline.recipe import recipe_of, with_recipe
from pipeline.settings import make_config, zoo_settings


def config(recipe, **raw):
    return make_config(with_recipe(zoo_settings() | raw, recipe), "settings")


def test_a_recipe_says_the_steps_their_order_their_amounts_and_the_quantization():
    made = config("rank90-weights62.5-cluster16-qat8")

    assert [step.method for step in made.compress] == ["low_rank", "weights", "clusters"]
    assert [made.compress[0].energy, made.compress[1].sparsity, made.compress[2].clusters] == [0.9, 0.625, 16]
    assert made.quantize.method == "qat"


@pytest.mark.parametrize(
    "recipe",
    [
        *(
            "weights75-auto8",
            "weights-auto8",
            "rank90-weights62.5-cluster16-qat8",
            "channels50-qat8",
            "bits4-ptq8",
            "ternary-qat8",
            "distill50-layers2-weights75-qat8",
            "weights60-distill100-ptq8",
            "ptq8",
        ),
        *("weights33.3-weights80-auto8", "float32"),
    ],
)
def test_the_recipe_of_a_build_is_the_one_that_was_given(recipe):
    assert recipe_of(config(recipe)) == recipe


def test_a_student_and_blocks_have_amounts():
    distill, layers = config("distill37.5-layers3-qat8").compress

    assert (distill.width, layers.blocks) == (0.375, 3)


def test_the_settings_without_a_recipe_have_one():
    assert recipe_of(make_config(zoo_settings(), "settings")) == "weights-auto8"


def test_amounts_are_the_recipes_and_all_else_is_that_of_the_settings():
    steps = [
        {"method": "clusters", "clusters": 4, "per_channel": True},
        {"method": "weights", "sparsity": 0.2, "training": {"epochs": 9}},
    ]

    made = config("weights80-cluster", compress=steps, quantize={"method": "ptq", "repairs": []})

    weights, clusters = made.compress
    assert (weights.sparsity, weights.training.epochs) == (0.8, 9)
    assert (clusters.clusters, clusters.per_channel) == (4, True)
    assert (made.quantize.method, made.quantize.repairs) == ("ptq", ())


def test_settings_of_another_quantization_are_left_out():
    made = config("weights80-qat8", quantize={"method": "ptq", "repairs": ["rounding"]})

    assert made.quantize.method == "qat"


@pytest.mark.parametrize("part", ["wheights80", "cluster16.5", "weights", "qat8-weights80", "", "bits"])
def test_every_part_is_a_step_with_its_amount_and_the_last_one_may_be_the_quantization(part):
    if part in {"weights", "bits"}:
        assert config(part).compress[0].method in COMPRESS  # with the amount that is the default
        return
    with pytest.raises(ConfigError, match=r"^--recipe .*: '.*' is no step with its amount; "):
        config(part)


def test_each_step_has_a_word_of_its_own_and_an_amount_among_its_settings():
    words = [word for row in COMPRESS.values() for word in (row.notation.word, *row.notation.names)]

    assert len(set(words)) == len(words)
    for row in COMPRESS.values():
        assert row.notation.key in row.config.model_fields


def test_an_amount_that_the_step_does_not_take_is_refused_by_its_key():
    with pytest.raises(ConfigError, match="sparsity"):
        config("weights100-qat8")
