"""Corruptions of series and vectors: in standard deviations of each feature."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.corruptions.measurements import MEASUREMENTS, OF_SERIES, FeatureStats, corrupt_readings

RNG = np.random.default_rng(0)
PHASES = RNG.uniform(0, 2 * np.pi, (200, 1, 2))
WAVES = np.sin(np.arange(40)[:, None] / 12 + PHASES) + RNG.normal(0, 0.1, (200, 40, 2))
SERIES = (WAVES * (1, 1000) + (5, -300)).astype(np.float32)
VECTORS = SERIES[:, 0]


def corrupt(readings, name, severity, seed=0):
    return corrupt_readings(readings, name, severity, FeatureStats.of(readings), np.random.default_rng(seed))


def change(readings, name, severity):
    """Mean change of each feature in its standard deviations."""
    moved = np.abs(corrupt(readings, name, severity).astype(float) - readings)
    return moved.reshape(-1, 2).mean(axis=0) / FeatureStats.of(readings).deviation


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_series_change_more_with_severity_and_alike_in_every_feature(name):
    found = np.array([change(SERIES, name, severity) for severity in range(1, 6)])
    assert (np.diff(found, axis=0) > -1e-6).all()
    assert (found[-1] > found[0]).all()
    np.testing.assert_allclose(found[:, 0], found[:, 1], rtol=0.15, atol=0.01)


@pytest.mark.parametrize("name", [name for name in MEASUREMENTS if name not in OF_SERIES])
def test_vectors_keep_shape_and_dtype(name):
    found = corrupt(VECTORS, name, 5)
    assert found.shape == VECTORS.shape
    assert found.dtype == np.float32
    assert not np.array_equal(found, VECTORS)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_seed_gives_the_same_bits(name):
    np.testing.assert_array_equal(corrupt(SERIES, name, 2), corrupt(SERIES, name, 2))


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_integers_stay_integers_in_range(name):
    found = corrupt((SERIES[..., :1] * 40).clip(-128, 127).astype(np.int8), name, 5)
    assert found.dtype == np.int8


def test_a_constant_feature_stays():
    readings = SERIES.copy()
    readings[..., 0] = 7
    for name in MEASUREMENTS:
        np.testing.assert_allclose(corrupt(readings, name, 5)[..., 0], 7, rtol=1e-6)


def test_strengths_are_what_the_table_says():
    np.testing.assert_allclose(change(SERIES, "offset", 5), 1.0, rtol=1e-3)
    stats = FeatureStats.of(SERIES)
    clipped = (corrupt(SERIES, "clipping", 5) - stats.mean) / stats.deviation
    np.testing.assert_allclose(np.abs(clipped).max(), 0.5, rtol=1e-3)
    lost = (corrupt(SERIES, "dropout", 5) == stats.mean.astype(np.float32)).all(axis=2)
    assert 0.28 < lost.mean() < 0.32
    shifted = corrupt(SERIES, "time_shift", 5)
    for given, found in zip(SERIES, shifted, strict=True):
        assert np.array_equal(found[10:], given[:-10]) or np.array_equal(found[:-10], given[10:])
