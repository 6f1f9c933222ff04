"""Features by which samples are compared."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.features import FAR, features_of, scaled

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((5,), "float32"), ((300,), "float32"), ((40, 3), "float32"), ((50, 37, 3), "uint8")]
)
def test_samples_keep_their_features_in_any_chunk(shape, dtype):
    samples = (RNG.random((9, *shape)) * 200).astype(dtype)
    whole = features_of([samples])

    assert whole.dtype == np.float32
    assert whole.shape[1] <= 36
    np.testing.assert_allclose(whole[4:6], features_of([samples[4:6]]), rtol=1e-5, atol=1e-3)


def test_similar_images_are_nearer_than_others():
    images = RNG.integers(0, 256, (20, 64, 64, 3)).astype(np.float32)
    found = features_of([np.concatenate([images, images[:1] + 1])])
    distances = np.linalg.norm(found - found[-1], axis=1)[:-1]

    assert np.argmin(distances) == 0
    assert distances[0] < 0.2 * distances[1:].min()


def test_sequences_of_ids_are_near_where_they_share_ids():
    ids = np.array([[1, 2, 3, 4], [4, 3, 2, 9], [50, 60, 70, 80]])
    found = features_of([ids], [True])

    assert np.linalg.norm(found[0] - found[1]) < np.linalg.norm(found[0] - found[2])


def test_several_inputs_are_features_together():
    a, b = RNG.random((7, 4)), RNG.random((7, 12, 12, 1))
    assert features_of([a, b]).shape == (7, features_of([a]).shape[1] + features_of([b]).shape[1])


def test_an_outlier_does_not_hide_differences_between_the_others():
    features = RNG.normal(size=(1000, 2)).astype(np.float32)
    features[0] = 1e6
    found = scaled(features)

    assert found[1:].std() > 0.5
    assert found.max() == FAR


def test_constant_features_are_no_distance():
    assert not scaled(np.full((30, 2), 7, np.float32)).any()
