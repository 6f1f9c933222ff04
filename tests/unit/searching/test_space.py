"""Parameters of a trial become settings, and every value of the space is one that a build takes."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.recipe import recipe_of
from pipeline.searching.space import AMOUNTS, STEPS, places, settings_with, space_of
from pipeline.settings import make_config

OWN = {
    "model": {"path": "m.keras"},
    "data": {"source": "d.npz"},
    "compress": [{"method": "weights", "min_weights": 7, "training": {"epochs": 6}}],
    "quantize": {"method": "auto", "training": {"learning_rate": 0.001}, "repairs": ["bias-correction"]},
}
MILD = {"order": "channels first", "method": "qat", "learning rate": 1.0, "epochs": 1}


def made(**params):
    return settings_with(OWN, MILD | params)


def recipe(**params):
    return recipe_of(make_config(made(**params), "trial"))


@pytest.mark.parametrize(
    ("step", "amount"), [(step, amount) for step in AMOUNTS for amount in AMOUNTS[step].values if amount]
)
def test_every_amount_is_one_that_a_build_takes(step, amount):
    make_config(made(**{step: amount}), "trial")


def test_a_step_keeps_the_other_keys_that_the_user_gave_it():
    table = made(weights=0.7)["compress"][0]
    assert table == {"method": "weights", "min_weights": 7, "training": {"epochs": 6}, "sparsity": 0.7}


def test_the_method_keeps_the_keys_that_it_has():
    assert made(method="ptq")["quantize"] == {"method": "ptq", "repairs": ["bias-correction"]}
    assert "repairs" not in made(method="qat")["quantize"]


def test_learning_rate_and_epochs_are_factors_of_the_users_own():
    found = made(weights=0.7, **{"learning rate": 2.0, "epochs": 2})
    assert found["compress"][0]["training"] == {"epochs": 12, "learning_rate": 4e-3}
    assert found["quantize"]["training"] == {"epochs": 6, "learning_rate": 2e-3}


def test_the_order_is_that_of_the_trial_and_weights_come_last():
    assert recipe(channels=0.5, low_rank=0.9, weights=0.5) == "channels50-rank90-weights50-qat8"
    assert (
        recipe(channels=0.5, low_rank=0.9, weights=0.5, order="low rank first")
        == "rank90-channels50-weights50-qat8"
    )


def test_few_bits_leave_nothing_to_cluster():
    assert recipe(clusters=16, low_bit=4) == "bits4-qat8"
    assert recipe(clusters=16) == "cluster16-qat8"


def test_orders_that_are_alike_are_one():
    assert len(space_of(STEPS)["order"].values) == 3
    assert len(space_of(("weights", "clusters"))["order"].values) == 1


def test_the_users_settings_are_not_changed():
    before = repr(OWN)
    made(weights=0.7, epochs=2)
    assert repr(OWN) == before


def test_parameters_that_are_not_given_are_the_mildest():
    found = places({"weights": 0.7}, space_of(("weights", "channels")))
    assert found["channels"] == 0
    assert AMOUNTS["weights"].values[found["weights"]] == 0.7
    assert found["method"] == "qat"


def test_an_unknown_step_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'channels'"):
        space_of(("chanels",))
