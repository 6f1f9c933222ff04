"""Corruptions of images: sizes, channels, dtypes, ranges, and that severity means strength."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pipeline.corruptions.images import IMAGES, corrupt_images
from pipeline.corruptions.severities import LARGE_IMAGES, SMALL_IMAGES

# The paper's constants go up and down there: movement is traded for blur, water for mud, light for ice.
NOT_MONOTONE = {"elastic_transform", "frost", "glass_blur", "saturate", "spatter"}


def pictures(count=20, height=32, width=32, channels=3):
    """Blobs of colour that differ from picture to picture."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    places = rng.uniform(0.2, 0.8, (count, channels, 2)) * (height, width)
    distance = np.hypot(
        y[None, :, :, None] - places[:, None, None, :, 0], x[None, :, :, None] - places[:, None, None, :, 1]
    )
    blobs = 40 + 170 * np.exp(-((distance / (height / 5)) ** 2))
    return (blobs + rng.normal(0, 10, blobs.shape)).clip(0, 255).astype(np.uint8)


def corrupt(images, name, severity, seed=0, limits=(0.0, 255.0)):
    return corrupt_images(images, name, severity, limits, np.random.default_rng(seed))


def changes(images, name):
    return [
        float(np.abs(corrupt(images, name, severity).astype(float) - images).mean())
        for severity in range(1, 6)
    ]


def test_small_and_large_images_have_constants_for_every_corruption():
    assert set(SMALL_IMAGES) == set(LARGE_IMAGES) == set(IMAGES)
    assert len(IMAGES) == 19
    assert all(len(levels) == 5 for table in (SMALL_IMAGES, LARGE_IMAGES) for levels in table.values())


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 14, 3), (70, 80, 3), (20, 20, 4)])
def test_bytes_stay_bytes_of_the_same_shape(name, shape):
    images = pictures(3, *shape)
    for severity in (1, 5):
        found = corrupt(images, name, severity)
        assert found.dtype == np.uint8
        assert found.shape == images.shape


@pytest.mark.parametrize("name", IMAGES)
def test_floats_stay_in_their_range(name):
    images = (pictures(4) / 127.5 - 1).astype(np.float32)
    found = corrupt(images, name, 5, limits=(-1.0, 1.0))
    assert found.dtype == np.float32
    assert found.min() >= -1
    assert found.max() <= 1
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", IMAGES)
def test_a_seed_gives_the_same_bits(name):
    images = pictures(4)
    np.testing.assert_array_equal(corrupt(images, name, 3), corrupt(images, name, 3))


@pytest.mark.parametrize("name", [name for name in IMAGES if name not in NOT_MONOTONE])
@pytest.mark.parametrize("side", [32, 96])
def test_a_higher_severity_changes_more(name, side):
    found = changes(pictures(10, side, side), name)
    assert found[0] > 0
    assert found[4] > found[2] > found[0]
    assert all(after > 0.93 * before for before, after in pairwise(found))


@pytest.mark.parametrize("name", sorted(NOT_MONOTONE))
def test_every_severity_changes_something(name):
    assert min(changes(pictures(), name)) > 0.1


def test_what_is_bright_or_dark_moves_as_the_names_say():
    images = pictures()
    assert corrupt(images, "brightness", 3).mean() > images.mean() + 20
    assert corrupt(images, "contrast", 5).std() < images.std() / 5
    assert corrupt(images, "gaussian_blur", 5).std() < images.std()
    np.testing.assert_allclose(corrupt(images, "motion_blur", 5).mean(), images.mean(), rtol=0.02)


def test_black_images_survive_everything():
    black = np.zeros((2, 16, 16, 3), np.uint8)
    for name in IMAGES:
        assert corrupt(black, name, 5).shape == black.shape
