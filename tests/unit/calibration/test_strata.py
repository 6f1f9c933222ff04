"""Strata by the content of targets."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.strata import CONTENT, strata_of

RNG = np.random.default_rng(0)


def sizes(content, targets, names=()):
    return {
        strata.trait: {name: len(rows) for name, rows in strata.members.items()}
        for strata in strata_of(content, "trait", [targets], names)
    }


def test_classes_are_strata_by_their_names_and_others_by_number():
    assert sizes("ids", np.array([0, 2, 2, 3]), ("cat", "dog", "eel")) == {
        "trait": {"cat": 1, "eel": 2, "3": 1}
    }


def test_samples_are_in_the_strata_of_all_their_labels():
    rows = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], np.uint8)

    assert sizes("labels", rows) == {"trait": {"0": 1, "1": 2, "none": 1}}


def test_masks_are_grouped_by_how_much_of_each_class_they_have():
    masks = np.full((6, 4, 4), -1)
    masks[:, 0] = 0
    for size, mask in enumerate(masks[:3], 1):
        mask[1, :size] = 2

    assert sizes("masks", masks, ("road", "tree", "car")) == {
        "trait": {"road": 6, "car, small": 2, "car, large": 1}
    }


def test_masks_without_any_class_have_no_strata():
    assert sizes("masks", np.full((6, 4, 4), -1)) == {}


def test_numbers_are_grouped_by_tenths():
    found = sizes("numbers", RNG.normal(size=(1000, 2)).astype(np.float32))

    assert list(found) == ["trait 0", "trait 1"]
    assert [set(groups.values()) for groups in found.values()] == [{100}, {100}]


def test_a_number_that_is_mostly_zero_keeps_the_others_apart():
    values = np.concatenate([np.zeros(950), RNG.uniform(1, 2, 50)]).astype(np.float32)[:, None]

    groups = sizes("numbers", values)["trait"]
    assert sorted(groups.values()) == [50, 950]


def test_many_numbers_are_grouped_by_their_mean():
    maps = RNG.normal(size=(1000, 8, 8)) + np.arange(1000)[:, None, None]
    assert list(sizes("numbers", maps)) == ["trait"]


@pytest.mark.parametrize("content", CONTENT)
def test_strata_do_not_depend_on_chunks(content):
    targets = {
        "ids": RNG.integers(0, 5, 300),
        "labels": RNG.integers(0, 2, (300, 4)).astype(np.uint8),
        "masks": np.sort(RNG.integers(-1, 4, (300, 5, 5)), axis=0),
        "numbers": RNG.normal(size=(300, 3)).astype(np.float32),
    }[content]
    whole, parts = (strata_of(content, "t", np.array_split(targets, n), ()) for n in (1, 7))

    assert len(whole) == len(parts)
    for one, other in zip(whole, parts, strict=True):
        assert list(one.members) == list(other.members)
        assert all(len(rows) and (np.diff(rows) > 0).all() for rows in one.members.values())
        for name, rows in one.members.items():
            np.testing.assert_array_equal(rows, other.members[name])
        if one.exclusive:
            assert sorted(np.concatenate(list(one.members.values()))) == list(range(300))
