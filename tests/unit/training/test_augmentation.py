"""Variations of samples are those declared, and never make a target wrong."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.artifacts import Transform
from pipeline.errors import StageError
from pipeline.training.augmentation import augmented, check_augmentation
from pipeline.training_config import AugmentationConfig

IMAGES = np.arange(2 * 64 * 5 * 4, dtype=np.float32).reshape(64, 5, 4, 2)


@pytest.fixture
def vary(tmp_path, prepared_model):
    """Vary the images; returns the varied ones."""
    model = prepared_model(tmp_path, inputs=(Port("image", (5, 4, 2)),))

    def of(**config):
        config = AugmentationConfig(**config)
        check_augmentation(model, config)
        return augmented([IMAGES], model, config, np.random.default_rng(0))[0]

    return of


def test_by_default_nothing_varies(vary):
    assert not AugmentationConfig().is_on
    np.testing.assert_array_equal(vary(), IMAGES)


@pytest.mark.parametrize(("mirror", "axis"), [("horizontal", 1), ("vertical", 0)])
def test_half_of_the_images_are_mirrored_along_the_axis_and_the_others_stay(vary, mirror, axis):
    found = vary(mirror=mirror)
    mirrored = [not np.array_equal(one, given) for one, given in zip(found, IMAGES, strict=True)]

    assert 0.25 < np.mean(mirrored) < 0.75
    for changed, one, given in zip(mirrored, found, IMAGES, strict=True):
        np.testing.assert_array_equal(one, np.flip(given, axis) if changed else given)


def test_a_shift_moves_an_image_by_up_to_its_pixels_and_repeats_the_border(vary):
    found = vary(shift=1)
    moves = set()
    for one, given in zip(found, IMAGES, strict=True):
        padded = np.pad(given, ((1, 1), (1, 1), (0, 0)), "edge")
        options = {(y, x): padded[y : y + 5, x : x + 4] for y in range(3) for x in range(3)}
        moves |= {move for move, option in options.items() if np.array_equal(one, option)}

    assert len(moves) == 9


def test_noise_has_the_declared_share_of_the_spread(vary):
    noise = vary(noise=0.1) - IMAGES

    assert noise.std() == pytest.approx(0.1 * IMAGES.std(), rel=0.05)
    assert vary(noise=0.1).dtype == np.float32


@pytest.mark.parametrize("task", ["segmentation", "regression", "reconstruction", "anomaly", "embedding"])
def test_moving_is_refused_for_tasks_whose_targets_would_have_to_move_too(tmp_path, prepared_model, task):
    model = prepared_model(tmp_path, inputs=(Port("image", (5, 4, 2)),), tasks=(task,))

    with pytest.raises(StageError, match=f"mirror and shift suit .* not the task {task}"):
        check_augmentation(model, AugmentationConfig(shift=1))


def test_indices_and_inputs_that_are_no_images_are_refused_what_does_not_suit_them(tmp_path, prepared_model):
    indices = prepared_model(tmp_path, preprocessing=(Transform(indices=True),))

    with pytest.raises(StageError, match="need an input of images"):
        check_augmentation(indices, AugmentationConfig(mirror="both"))
    with pytest.raises(StageError, match="noise does not suit inputs of indices"):
        check_augmentation(indices, AugmentationConfig(noise=0.1))
