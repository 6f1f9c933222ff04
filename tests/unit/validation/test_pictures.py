"""Samples as people see them."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.validation.pictures import is_image, picture, series


def pixels(image):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture(image)))))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((28, 28), True), ((28, 28, 1), True), ((96, 64, 3), True), ((28, 28, 4), False),
        ((128, 9), False), ((128, 3), False), ((40,), False), ((8, 8, 8, 3), False),
    ],
)  # fmt: skip
def test_images_have_two_sides_and_one_or_three_channels(shape, expected):
    assert is_image(shape) == expected


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0, 200], [0, 200]),
        ([0.0, 1.0], [0, 255]),
        ([0.25, 0.5], [64, 128]),
        ([0.0, 255.0], [0, 255]),
        ([-1.0, 1.0], [0, 255]),
        ([-3.0, -3.0], [0, 0]),
    ],
)
def test_values_are_shown_from_black_to_white(values, shown):
    image = np.resize(np.array(values, np.uint8 if isinstance(values[0], int) else np.float32), (8, 8))

    assert pixels(image)[0, :2].tolist() == shown


def test_large_images_are_made_small_and_colours_stay():
    image = np.zeros((200, 100, 3), np.uint8)
    image[..., 1] = 90

    found = pixels(image)

    assert found.shape == (64, 32, 3)
    assert found[10, 10].tolist() == [0, 90, 0]


def test_a_series_has_a_line_for_each_of_its_first_channels_with_few_points():
    value = np.arange(400 * 6, dtype=np.float32).reshape(400, 6)

    lines = series(value)

    assert [len(line) for line in lines] == [80] * 4
    assert lines[1][:2] == (1.0, 31.0)


def test_a_row_of_numbers_is_one_line():
    assert series(np.array([1.0, 2.5])) == ((1.0, 2.5),)
