"""Which corruptions suit which inputs, and that inputs that they do not suit are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.artifacts import Transform
from pipeline.corruptions.images import IMAGES
from pipeline.corruptions.measurements import MEASUREMENTS
from pipeline.corruptions.suite import choose, corrupt, describe
from pipeline.errors import ConfigError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)
GREY = COLOUR[..., :1]
SERIES = RNG.normal(size=(5, 30, 2)).astype(np.float32)
VECTOR = RNG.normal(size=(5, 6)).astype(np.float32)
TOKENS = RNG.integers(0, 9, (5, 12))


def kinds(*raws, indices=()):
    transforms = tuple(Transform(indices=index in indices) for index in range(len(raws)))
    return describe(raws, transforms)


def test_inputs_are_told_apart():
    found = kinds(COLOUR, GREY[..., 0], SERIES, VECTOR, TOKENS, COLOUR[:, None], indices={4})
    assert [one.kind for one in found] == ["image", "image", "series", "vector", "indices", "other"]


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        (COLOUR, (0, 255)),
        ((COLOUR / 300).astype(np.float32), (0, 1)),
        ((COLOUR / 140 - 0.9).astype(np.float32), (-1, 1)),
        (COLOUR.astype(np.float32), (0, 255)),
    ],
)
def test_the_range_of_images_is_told_by_their_values(values, limits):
    assert kinds(values)[0].limits == limits


def test_each_kind_gets_its_corruptions():
    assert set(choose(kinds(COLOUR), ("classification",), ())[0]) == set(IMAGES)
    assert set(choose(kinds(SERIES), ("classification",), ())[0]) == set(MEASUREMENTS)
    assert set(choose(kinds(VECTOR), ("classification",), ())[0]) == set(MEASUREMENTS) - {
        "drift",
        "time_shift",
    }
    assert choose(kinds(COLOUR[:, None]), ("classification",), ())[0] == ()


def test_grey_images_have_no_saturation():
    names, left_out = choose(kinds(GREY), ("classification",), ())
    assert set(names) == set(IMAGES) - {"saturate"}
    assert left_out == ("saturate: images of one channel have no saturation",)


@pytest.mark.parametrize("task", ["segmentation", "regression"])
def test_nothing_moves_away_from_its_target(task):
    names, left_out = choose(kinds(COLOUR), ("classification", task), ())
    assert not {"elastic_transform", "glass_blur", "motion_blur", "zoom_blur"}.intersection(names)
    assert any(line.startswith("elastic_transform: it moves objects") for line in left_out)
    assert "time_shift" not in choose(kinds(SERIES), (task,), ())[0]


def test_indices_are_left_alone_and_that_is_said():
    given = kinds(TOKENS, VECTOR, indices={0})
    names, left_out = choose(given, ("classification",), ())
    assert any("indices are no measurements" in line for line in left_out)
    tokens, vector = corrupt([TOKENS, VECTOR], given, names[0], 5, (0,))
    np.testing.assert_array_equal(tokens, TOKENS)
    assert not np.array_equal(vector, VECTOR)


def test_a_plane_of_bytes_keeps_its_shape():
    plane = GREY[..., 0]
    [found] = corrupt([plane], kinds(plane), "fog", 3, (0,))
    assert found.shape == plane.shape
    assert found.dtype == np.uint8


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="unknown shift 'gausian_noise'; did you mean 'gaussian_noise'"):
        choose(kinds(COLOUR), ("classification",), ("gausian_noise",))


def test_a_name_that_was_asked_for_and_does_not_suit_is_said():
    names, left_out = choose(kinds(VECTOR), ("classification",), ("fog", "noise"))
    assert names == ("noise",)
    assert left_out == ("fog: no input of its kind",)
