"""Codebooks: the values that weights share are those of k-means, and zeros stay what they are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.compress.codebooks import share_values

RNG = np.random.default_rng(0)
STARTS = ("k-means++", "density", "linear")


def shared(weights, clusters, start="linear", keeps_zeros=False):
    columns = np.asarray(weights, np.float32)
    columns = columns[:, None] if columns.ndim == 1 else columns
    return share_values(columns, clusters, start, keeps_zeros, np.random.default_rng(0))


def least_error(weights, clusters):
    """The least squared error of any partition of sorted weights into intervals."""
    ordered = np.sort(weights)
    cuts = itertools.combinations(range(1, len(ordered)), clusters - 1)
    parts = (np.split(ordered, cut) for cut in cuts)
    return min(sum(float(((part - part.mean()) ** 2).sum()) for part in each) for each in parts)


@pytest.mark.parametrize("start", STARTS)
def test_groups_that_are_far_apart_get_their_means(start):
    weights = np.concatenate([centre + RNG.normal(0, 0.01, 40) for centre in (-3, -1, 0.5, 2)])

    found = shared(RNG.permutation(weights), 4, start)

    means = weights.reshape(4, 40).mean(axis=1)
    np.testing.assert_allclose(np.sort(found.values), means, rtol=1e-6)


@pytest.mark.parametrize("start", STARTS)
def test_every_weight_has_the_nearest_value_and_every_value_is_the_mean_of_its_weights(start):
    weights = RNG.uniform(-1, 1, (500, 3)).astype(np.float32)

    found = shared(weights, 16, start)

    assert len(found.values) == 48
    for group in range(3):
        own = found.values[group * 16 : (group + 1) * 16]
        assert set(found.codes[:, group]) == set(range(group * 16, (group + 1) * 16))
        nearest = own[np.abs(weights[:, group, None] - own).argmin(axis=1)]
        np.testing.assert_array_equal(found.weights[:, group], nearest)
        for code, value in enumerate(own, group * 16):
            assert value == pytest.approx(weights[found.codes[:, group] == code, group].mean(), abs=1e-6)


@pytest.mark.parametrize("start", STARTS)
def test_the_error_of_few_weights_is_near_the_least_of_all_partitions(start):
    weights = RNG.normal(size=14)

    found = shared(weights, 4, start)

    error = float(((found.weights[:, 0] - weights) ** 2).sum())
    assert least_error(weights, 4) - 1e-6 <= error <= 2 * least_error(weights, 4)


def test_values_start_evenly_spaced_or_where_many_weights_are():
    """With one value for each weight, k-means moves nothing."""
    weights = np.array([0, 0.1, 0.2, 0.3, 1.0], np.float32)

    assert len(shared(weights, 2, "linear").values) == 2
    np.testing.assert_allclose(shared(weights, 2, "linear").values, [0.15, 1.0], rtol=1e-6)
    np.testing.assert_allclose(np.sort(shared(weights, 5, "density").values), weights, rtol=1e-6)


def test_zeros_stay_the_only_zeros_and_are_one_of_the_values():
    weights = RNG.normal(size=400).astype(np.float32)
    weights[::3] = 0
    weights[1] = 1e-6

    found = shared(weights, 8, keeps_zeros=True)

    np.testing.assert_array_equal(found.weights[:, 0] == 0, weights == 0)
    assert len(np.unique(found.weights)) == 8
    assert found.values[found.fixed].tolist() == [0.0]


def test_of_a_group_that_is_all_zero_nothing_is_trained():
    found = shared(np.zeros((9, 2)), 4, keeps_zeros=True)

    assert not found.weights.any()
    assert found.fixed.all()


@pytest.mark.parametrize("start", STARTS)
def test_fewer_distinct_weights_than_clusters_stay_as_they_are(start):
    weights = RNG.choice(np.array([-1, 0.25, 2], np.float32), 50)

    np.testing.assert_array_equal(shared(weights, 16, start).weights[:, 0], weights)
