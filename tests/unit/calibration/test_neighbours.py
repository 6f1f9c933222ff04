"""Nearly equal samples of two sets."""

from __future__ import annotations

import numpy as np

from calibration.features import features_of
from calibration.neighbours import Nearest, nearly_equal

RNG = np.random.default_rng(0)


def test_the_nearest_samples_are_found_whatever_the_chunks():
    ours, theirs = RNG.normal(size=(5, 8)).astype(np.float32), RNG.normal(size=(90, 8)).astype(np.float32)
    theirs[70] = ours[2] + 0.001
    rows = np.arange(500, 590)
    whole = Nearest.none(5).among(ours, theirs, rows)
    parts = Nearest.none(5)
    for chunk in np.array_split(np.arange(90), 4):
        parts = parts.among(ours, theirs[chunk], rows[chunk])

    assert whole.rows[2, 0] == 570
    np.testing.assert_array_equal(whole.rows, parts.rows)


def test_fewer_samples_than_candidates_leave_rows_empty():
    found = Nearest.none(2).among(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)[:1], np.array([7]))
    assert found.rows.tolist() == [[7, -1, -1], [7, -1, -1]]


def test_a_test_image_with_a_little_noise_is_found_among_others():
    images = RNG.integers(0, 256, (400, 20, 20, 3)).astype(np.uint8)
    tested, ours = images[200:], images[:20].copy()
    ours[4] = np.clip(tested[33] + RNG.normal(0, 2, (20, 20, 3)), 0, 255)
    nearest = Nearest.none(20).among(features_of([ours]), features_of([tested]), np.arange(200))
    spread = [ours.reshape(-1, 3).std(axis=0)]
    same = nearly_equal([ours], [tested[nearest.rows[:, 0]]], spread)

    assert np.flatnonzero(same).tolist() == [4]
    assert nearest.rows[4, 0] == 33


def test_every_input_has_to_be_nearly_equal_and_indices_equal():
    numbers, ids = RNG.normal(size=(3, 12)), RNG.integers(0, 9, (3, 4))
    other = ids.copy()
    other[1, 0] += 1
    numbers[2] += 0.2
    same = nearly_equal([numbers, ids], [numbers - [[0], [0], [0.2]], other], [np.ones(1), np.zeros(1)])

    assert same.tolist() == [True, False, False]
