"""Factors of kernels: exact with full ranks, and otherwise with the error that the discarded part has."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.compress.factors import spatial, svd, tucker
from pipeline.costing.macs import Positions

RNG = np.random.default_rng(0)
POSITIONS = Positions(64, 32, 16)


def product_of(decomposition, ranks, window=()):
    """The kernel that the factors amount to, computed as a plain sum over the channels between them."""
    found, *others = (factor.values.astype(np.float64) for factor in decomposition.factors(ranks))
    for factor in others:
        if not window:
            found = found @ factor
            continue
        height, width = (found.shape[axis] + factor.shape[axis] - 1 for axis in (0, 1))
        summed = np.zeros((height, width, found.shape[2], factor.shape[3]))
        for row, column in np.ndindex(*factor.shape[:2]):
            part = found @ factor[row, column]
            summed[row : row + found.shape[0], column : column + found.shape[1]] += part
        found = summed
    return found


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (1, 1, 9, 5)])
def test_truncated_svd_has_the_error_of_the_discarded_singular_values(shape):
    kernel = RNG.normal(size=shape).astype(np.float32)
    values = np.linalg.svd(kernel.reshape(shape[-2:]), compute_uv=False).astype(np.float64)

    found = svd(kernel)

    for rank in range(1, len(values) + 1):
        error = np.linalg.norm(product_of(found, (rank,), shape[:-2]) - kernel)
        assert error == pytest.approx(np.sqrt((values[rank:] ** 2).sum()), rel=1e-4, abs=1e-4)
        assert found.share_kept((rank,)) == pytest.approx((values[:rank] ** 2).sum() / (values**2).sum())


def test_a_spatial_svd_has_the_least_error_of_all_pairs_of_vertical_and_horizontal_filters():
    """That is the error of the matrix of vertical by horizontal taps, by Eckart and Young."""
    kernel = RNG.normal(size=(3, 5, 4, 6)).astype(np.float32)
    matrix = np.zeros((3 * 4, 5 * 6))
    for i, j, c, n in np.ndindex(3, 5, 4, 6):
        matrix[i * 4 + c, j * 6 + n] = kernel[i, j, c, n]
    values = np.linalg.svd(matrix, compute_uv=False)

    found = spatial(kernel)

    assert found.full == (12,)
    for rank in (1, 5, 12):
        factors = found.factors((rank,))
        assert [factor.values.shape for factor in factors] == [(3, 1, 4, rank), (1, 5, rank, 6)]
        error = np.linalg.norm(product_of(found, (rank,), (3, 5)) - kernel)
        assert error == pytest.approx(np.sqrt((values[rank:] ** 2).sum()), abs=1e-4)


def test_a_truncated_tucker_decomposition_has_the_error_that_it_says():
    kernel = RNG.normal(size=(3, 3, 8, 10)).astype(np.float32)
    total = float((kernel**2).sum())

    found = tucker(kernel)

    assert found.full == (8, 10)
    for ranks in ((8, 10), (3, 10), (8, 4), (2, 5)):
        factors = found.factors(ranks)
        shapes = [(1, 1, 8, ranks[0]), (3, 3, *ranks), (1, 1, ranks[1], 10)]
        assert [factor.values.shape for factor in factors] == shapes
        squares = ((product_of(found, ranks, (3, 3)) - kernel) ** 2).sum()
        assert found.share_kept(ranks) == pytest.approx(1 - squares / total, abs=1e-6)


def test_tucker_truncated_on_one_side_has_the_error_of_the_discarded_singular_values():
    kernel = RNG.normal(size=(3, 3, 8, 10)).astype(np.float32)
    values = np.linalg.svd(kernel.reshape(-1, 10), compute_uv=False)

    error = np.linalg.norm(product_of(tucker(kernel), (8, 4), (3, 3)) - kernel)

    assert error == pytest.approx(np.sqrt((values[4:] ** 2).sum()), abs=1e-4)


def test_costs_are_those_of_the_layers_at_their_positions():
    kernel = RNG.normal(size=(3, 3, 8, 16)).astype(np.float32)

    assert svd(kernel[:1, :1]).macs((4,), POSITIONS) == 16 * (8 * 4 + 4 * 16)
    assert spatial(kernel).macs((4,), POSITIONS) == 32 * 3 * 8 * 4 + 16 * 3 * 4 * 16
    assert tucker(kernel).macs((4, 6), POSITIONS) == 64 * 8 * 4 + 16 * (9 * 4 * 6 + 6 * 16)
    for made, ranks in ((svd(kernel[:1, :1]), (4,)), (spatial(kernel), (4,)), (tucker(kernel), (4, 6))):
        assert made.weights(ranks) == sum(factor.values.size for factor in made.factors(ranks))


@pytest.mark.parametrize(("energy", "rank"), [(0.5, 8), (0.63, 8), (0.65, 16), (0.91, 16), (0.93, 20)])
def test_ranks_are_multiples_of_8_that_keep_enough_or_full(energy, rank):
    """Of ten singular values of 1 and ten of 1/2, 8 have 64 % of the squares and 16 have 92 %."""
    rotation, _ = np.linalg.qr(RNG.normal(size=(30, 20)))
    kernel = rotation * np.repeat([1, 0.5], 10)

    assert svd(kernel).cheapest(energy, POSITIONS) == (rank,)


def test_of_tucker_ranks_the_cheapest_pair_that_keeps_enough_is_taken():
    inputs, _ = np.linalg.qr(RNG.normal(size=(32, 8)))
    kernel = np.einsum("hwrn,ir->hwin", RNG.normal(size=(3, 3, 8, 32)), inputs).astype(np.float32)

    found = tucker(kernel)
    ranks = found.cheapest(0.9, POSITIONS)

    every = [(first, second) for first in (8, 16, 24, 32) for second in (8, 16, 24, 32)]
    enough = [each for each in every if found.share_kept(each) >= 0.9]
    assert ranks == min(enough, key=lambda each: found.macs(each, POSITIONS))
    assert ranks[0] == 8


def test_a_kernel_that_is_all_zero_needs_the_lowest_rank():
    assert svd(np.zeros((64, 32))).cheapest(0.99, POSITIONS) == (8,)
