"""Adaptive rounding: choose for each weight one of the two nearest int8 steps by the layer's output error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.quantize.repairs.kernels import INT8_LIMIT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.quantize.repairs.kernels import Kernel
    from pipeline.quantize.repairs.moments import Moments

MAX_PRODUCTS = 4096
"""The matrix of products of larger layers needs too much memory; their weights stay at the nearest step."""

ON_GRID = 1e-4
BLOCK = 64
MAX_SWEEPS = 16
FEW_CHANGES = 1e-3


def round_weights(
    kernel: Kernel, steps: NDArray[np.float32], found: Moments, *, free_bias: bool
) -> NDArray[np.float32]:
    """Return a kernel's weights on the int8 grid, each rounded down or up.

    As AdaRound (Nagel et al. 2020, arXiv:2004.10568) does, it minimizes the squared error of the layer's
    output before the activation function, given the inputs that the int8 model has there (its asymmetric
    reconstruction)::

        E[(y - q x)^2] = q H q^T - 2 q c + constant,  H = E[x x^T],  c = E[y x^T]

    for each output channel, ``q`` being its row of rounded weights, ``x`` the int8 model's inputs, and ``y``
    the float model's output without the bias. Instead of the paper's relaxation by gradient descent it
    changes one weight after the other to its other step where that lowers the error, until there is hardly
    any such weight: the problem is quadratic, so the change of the error is exact.

    Weights of zero stay zero, so that pruned weights do. Weights at the largest step stay as they are, so
    that a quantizer finds the same step widths and thus the same integers. With few rows the products of
    different inputs are uncertain: ``H`` and ``c`` are mixed with those of uncorrelated inputs without error,
    ``diag(H)`` and ``diag(H) w``, with the weight ``products / (rows + products)``.

    Args:
        kernel: of the float file; of a quantizer's input, before rounding.
        steps: real widths of the int8 steps, (groups, channels, 1).
        found: moments of the kernel's inputs.
        free_bias: whether the bias is corrected afterwards, so that the mean of the error does not count.

    Returns:
        Float32 weights in the file's shape: multiples of the widths.
    """
    matrix = kernel.matrix()
    if matrix.shape[-1] > MAX_PRODUCTS:
        return kernel.weights
    real = matrix.astype(np.float64) / steps
    nearest = np.clip(np.rint(real), -INT8_LIMIT, INT8_LIMIT)
    fixed = (np.abs(nearest) == INT8_LIMIT) | (matrix == 0) | (np.abs(real - nearest) < ON_GRID)
    other = np.where(fixed, nearest, np.where(real > nearest, nearest + 1, nearest - 1))
    square, cross = _objective(matrix, found, free_bias=free_bias)
    chosen = _descend(nearest, other, steps.astype(np.float64), square, cross)
    limit = np.abs(matrix).max(axis=-1, keepdims=True)
    rounded = np.clip((chosen * steps).astype(np.float32), -limit, limit)
    return kernel.weights_of(np.where(np.abs(matrix) == limit, matrix, rounded))


def _objective(
    matrix: NDArray[np.float32], found: Moments, *, free_bias: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return H, (groups, products, products), and c, (groups, channels, products)."""
    square, cross = found.square, found.cross
    if free_bias:
        square = square - found.inputs[:, :, None] * found.inputs[:, None]
        cross = cross - found.outputs[:, :, None] * found.inputs[:, None]
    kept = found.rows / (found.rows + square.shape[-1])
    diagonal = np.einsum("gpp->gp", square)
    reduced = kept * square
    np.einsum("gpp->gp", reduced)[:] = diagonal
    return reduced, kept * cross + (1 - kept) * diagonal[:, None] * matrix


def _descend(
    chosen: NDArray[np.float64],
    other: NDArray[np.float64],
    steps: NDArray[np.float64],
    square: NDArray[np.float64],
    cross: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Change weights from ``chosen`` to ``other``, and back, while this lowers the error.

    Args:
        chosen: steps of each weight, (groups, channels, products).
        other: the other possible steps.
        steps: width of a step, (groups, channels, 1).
        square: H.
        cross: c.
    """
    groups, channels, products = chosen.shape
    diagonal = np.einsum("gpp->gp", square)
    slope = (chosen * steps) @ square - cross  # half of the gradient
    for _ in range(MAX_SWEEPS):
        changes = 0
        for start in range(0, products, BLOCK):
            block = slice(start, min(start + BLOCK, products))
            moved = np.zeros((groups, channels, block.stop - start))
            local, within = slope[:, :, block].copy(), square[:, block, block]
            for place in range(block.stop - start):
                at = start + place
                change = (other[:, :, at] - chosen[:, :, at]) * steps[:, :, 0]
                better = change * (2 * local[:, :, place] + change * diagonal[:, None, at]) < 0
                if not better.any():
                    continue
                change = np.where(better, change, 0.0)
                moved[:, :, place] = change
                local += change[:, :, None] * within[:, None, place]
                chosen[:, :, at], other[:, :, at] = (
                    np.where(better, other[:, :, at], chosen[:, :, at]),
                    np.where(better, chosen[:, :, at], other[:, :, at]),
                )
                changes += np.count_nonzero(better)
            slope += moved @ square[:, block]
        if changes <= FEW_CHANGES * chosen.size:
            break
    return chosen
