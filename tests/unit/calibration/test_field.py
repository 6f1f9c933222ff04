"""Calibration samples that are distributed as the field is."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import CalibrationError
from calibration.field import choose_like

RNG = np.random.default_rng(0)
BRIGHTNESS = np.clip(RNG.normal(5, 2, 4000).astype(np.int64), 0, 15)
CLASSES = RNG.integers(0, 3, 4000)


def shares(trait, chosen, bins):
    return np.bincount(trait[chosen], minlength=bins) / len(chosen)


def test_the_chosen_are_distributed_as_the_field_is():
    field = np.zeros(16)
    field[7:10] = [0.2, 0.5, 0.3]

    match = choose_like([BRIGHTNESS], [field], 200, seed=0)

    assert len(match.places) == len(set(match.places)) == 200
    assert shares(BRIGHTNESS, match.places, 16)[7:10] == pytest.approx([0.2, 0.5, 0.3], abs=0.06)
    assert match.uncovered == (0.0,)


def test_several_traits_are_fitted_at_a_time():
    field = [np.bincount(np.minimum(BRIGHTNESS + 2, 15), minlength=16), np.array([1, 1, 8])]

    places = choose_like([BRIGHTNESS, CLASSES], field, 300, seed=0).places

    assert BRIGHTNESS[places].mean() == pytest.approx(BRIGHTNESS.mean() + 2, abs=0.4)
    assert shares(CLASSES, places, 3)[2] == pytest.approx(0.8, abs=0.08)


def test_places_with_too_few_samples_are_filled_from_the_next_ones():
    trait = np.repeat([0, 1, 2], [900, 80, 5])

    match = choose_like([trait], [np.array([0.0, 0.0, 1.0])], 100, seed=0)

    assert match.uncovered == pytest.approx((0.95,))
    assert np.bincount(trait[match.places]).tolist()[1:] == pytest.approx([76, 5], abs=6)


def test_what_no_training_sample_has_is_said_and_the_nearest_are_taken():
    field = np.zeros(16)
    field[[5, 15]] = [30, 70]
    trait = np.minimum(BRIGHTNESS, 8)

    match = choose_like([trait], [field], 200, seed=0)

    assert match.uncovered == pytest.approx((0.7,))
    assert shares(trait, match.places, 16)[8] == pytest.approx(0.7, abs=0.1)


def test_a_field_like_the_training_samples_changes_nothing_but_the_draw():
    match = choose_like([BRIGHTNESS], [np.bincount(BRIGHTNESS, minlength=16)], 400, seed=0)

    assert BRIGHTNESS[match.places].mean() == pytest.approx(BRIGHTNESS.mean(), abs=0.3)


def test_the_seed_decides():
    field = np.bincount(BRIGHTNESS, minlength=16)
    chosen = [choose_like([BRIGHTNESS], [field], 50, seed=seed).places.tolist() for seed in (1, 1, 2)]

    assert chosen[0] == chosen[1] != chosen[2]


def test_all_are_taken_where_there_are_fewer_than_asked_for():
    assert choose_like([CLASSES[:20]], [np.ones(3)], 1000, seed=0).places.tolist() == list(range(20))


def test_traits_that_exclude_each_other_still_give_samples():
    one = np.array([0] * 50 + [1] * 50)

    match = choose_like([one, one], [np.array([1.0, 0.0]), np.array([0.0, 1.0])], 20, seed=0)

    assert len(match.places) == 20


def test_no_field_is_refused():
    with pytest.raises(CalibrationError, match="empty"):
        choose_like([CLASSES], [np.zeros(3)], 5, seed=0)
