"""Calibration samples: their share of each class, their seed, and sets that would give wrong ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import CalibrationError
from calibration.sampling import SAMPLING, Pool, check, sample_hashes
from calibration.sampling import choose as choose_from
from calibration.strata import strata_of

RNG = np.random.default_rng(0)
TRAIN = RNG.normal(size=(300, 5)).astype(np.float32)
LABELS = np.repeat([0, 1, 2], [200, 90, 10])


def pool(labels, content="ids"):
    """All of what the methods may need: strata of the labels, and features without two equal ones."""
    strata = strata_of(content, "class", [labels], ()) if len(labels) else ()
    return Pool(len(labels), strata, lambda places: places[:, None].astype(np.float32))


def choose(labels, count, seed):
    return choose_from(pool(labels), count, seed).places


def per_class(labels, chosen):
    return np.bincount(labels[chosen]).tolist()


def test_every_class_gets_its_share():
    assert per_class(LABELS, choose(LABELS, 30, seed=0)) == [20, 9, 1]


def test_a_rare_class_is_seen_all_the_same():
    labels = np.repeat([0, 1, 2], [290, 9, 1])

    assert per_class(labels, choose(labels, 10, seed=0)) == [8, 1, 1]


def test_fewer_samples_than_classes_are_the_largest_classes():
    assert per_class(LABELS, choose(LABELS, 2, seed=0)) == [1, 1]


def test_all_are_taken_where_there_are_fewer_than_asked_for():
    np.testing.assert_array_equal(choose(LABELS, 10_000, seed=0), np.arange(300))


def test_the_seed_decides():
    one, same, other = (choose(LABELS, 30, seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    count=st.integers(1, 120),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_choice_is_ascending_without_repeats_and_near_each_class_s_exact_share(sizes, count, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    chosen = choose(labels, count, seed)

    assert len(chosen) == min(count, len(labels))
    assert (np.diff(chosen) > 0).all()
    found = np.bincount(labels[chosen], minlength=len(sizes))
    exact = min(count, len(labels)) * np.asarray(sizes) / len(labels)
    assert (found <= sizes).all()
    if len(chosen) >= len(sizes):
        assert (found >= 1).all()
    assert (found <= np.ceil(exact) + 1).all()


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("count", [1, 30, 299, 300, 1000])
def test_every_method_chooses_as_many_different_samples_as_asked_for_by_its_seed(sampling, count):
    choice = choose_from(pool(LABELS), count, 3, sampling)

    assert choice.sampling == sampling
    assert len(choice.places) == min(count, 300)
    assert (np.diff(choice.places) > 0).all()
    np.testing.assert_array_equal(choice.places, choose_from(pool(LABELS), count, 3, sampling).places)


def test_auto_stratifies_only_where_there_are_strata():
    assert choose_from(pool(LABELS), 30, 0).sampling == "stratified"
    assert choose_from(Pool(300), 30, 0).sampling == "random"


@pytest.mark.parametrize(("sampling", "lacking"), [("stratified", "no targets"), ("coverage", "no features")])
def test_a_method_without_what_it_needs_names_the_others(sampling, lacking):
    with pytest.raises(CalibrationError, match=f'{lacking} .*"random"'):
        choose_from(Pool(300), 30, 0, sampling)


def test_overlapping_strata_all_get_their_share():
    rng = np.random.default_rng(0)
    labels = (rng.random((5000, 12)) < np.geomspace(0.6, 0.0008, 12)).astype(np.uint8)
    chosen = choose_from(pool(labels, "labels"), 200, 0).places

    assert (labels[chosen].any(axis=0) == labels.any(axis=0)).all()
    assert np.abs(labels[chosen].mean(axis=0) - labels.mean(axis=0)).max() < 0.03
    at_random = choose_from(pool(labels, "labels"), 200, 0, "random").places
    assert not labels[at_random].any(axis=0).all()


def test_coverage_finds_a_small_cluster_that_random_samples_miss():
    points = np.concatenate([RNG.normal(size=(4000, 3)), RNG.normal(20, 1, size=(4, 3))]).astype(np.float32)
    covered = choose_from(Pool(4004, (), lambda places: points[places]), 64, 0, "coverage").places

    assert (covered >= 4000).any()


def test_equal_samples_do_not_stop_coverage():
    same = Pool(50, (), lambda places: np.ones((len(places), 2), np.float32))
    assert len(choose_from(same, 20, 0, "coverage").places) == 20


def spoiled(place, value):
    samples = TRAIN[:20].copy()
    samples[place] = value
    return samples


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (TRAIN[:0], "is empty"),
        (spoiled((7, 2), np.nan), "sample 7 contains NaN or Inf"),
        (spoiled((4, 0), -np.inf), "sample 4 contains NaN or Inf"),
        (np.full((20, 5), 3, np.float32), "every calibration value is 3"),
        (TRAIN[:20].astype(str), "must be numbers"),
        (TRAIN[:20].astype(object), "must be numbers"),
    ],
)
def test_a_set_that_would_give_wrong_ranges_is_refused(samples, said):
    with pytest.raises(CalibrationError, match=said) as caught:
        check([samples])
    assert "\n" not in str(caught.value)


def test_nothing_to_choose_from_is_refused():
    with pytest.raises(CalibrationError, match="there are no training samples"):
        choose(LABELS[:0], 30, seed=0)


def test_hashes_tell_dtype_and_shape_apart():
    ones = np.ones((2, 4), np.float32)
    hashes = [sample_hashes([a])[0] for a in (ones, ones.reshape(2, 2, 2), ones.view(np.int32))]

    assert len(set(hashes)) == 3
    assert sample_hashes([ones])[0] == sample_hashes([ones])[1]


def test_hashes_are_of_the_values_wherever_they_lie():
    assert sample_hashes([TRAIN[::-1, ::-1]]) == sample_hashes([TRAIN[::-1, ::-1].copy()])


def test_a_hash_covers_every_input_of_a_sample():
    one, two = TRAIN[:2], TRAIN[2:4]

    assert sample_hashes([one, two])[0] not in sample_hashes([one]) + sample_hashes([two, one])
