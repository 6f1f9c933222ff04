"""Means and products of what a kernel reads, which its output error depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pipeline.quantize.repairs.kernels import Kernel

CHUNK_BYTES = 16 << 20
MIN_ROWS, MAX_ROWS, ROWS_PER_PRODUCT = 4096, 32768, 16
_SAME = 0  # the schema's Padding.SAME


class Moments(NamedTuple):
    """Moments of a kernel's inputs, of int8 as real numbers, and of the outputs that it should have.

    A row is what one output value is computed from: the inputs ``x`` of int8, and the output ``y`` of the
    float model, without the bias.

    Attributes:
        rows: how many there are.
        inputs: mean of ``x``, float64 (groups, products).
        outputs: mean of ``y``, (groups, channels).
        square: mean of ``x x^T``, (groups, products, products).
        cross: mean of ``y x^T``, (groups, channels, products).
    """

    rows: int
    inputs: NDArray[np.float64]
    outputs: NDArray[np.float64]
    square: NDArray[np.float64]
    cross: NDArray[np.float64]


def moments(
    kernel: Kernel, exact: NDArray[np.float32], rounded: NDArray[np.float32], *, squares: bool = True
) -> Moments:
    """Return the moments of a kernel's inputs, on at most ``MAX_ROWS`` rows.

    Args:
        kernel: of the float model.
        exact: its input in the float model, (n, ...).
        rounded: its input in the int8 model as real numbers, likewise.
        squares: whether to compute ``square`` and ``cross``; zeros otherwise.
    """
    groups, channels, products = (matrix := kernel.matrix()).shape
    most = int(np.clip(ROWS_PER_PRODUCT * products, MIN_ROWS, MAX_ROWS))
    rows = 0
    inputs, outputs = np.zeros((groups, products)), np.zeros((groups, channels))
    square, cross = np.zeros((groups, products, products)), np.zeros((groups, channels, products))
    for real, x in _rows(kernel, exact, rounded, most):
        y = real @ matrix.transpose(0, 2, 1)
        rows += x.shape[1]
        inputs += x.sum(axis=1, dtype=np.float64)
        outputs += y.sum(axis=1, dtype=np.float64)
        if squares:
            square += x.transpose(0, 2, 1) @ x
            cross += y.transpose(0, 2, 1) @ x
    return Moments(rows, inputs / rows, outputs / rows, square / rows, cross / rows)


def _rows(
    kernel: Kernel, exact: NDArray[np.float32], rounded: NDArray[np.float32], most: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield float32 (groups, rows, products) of both inputs in chunks of samples: the same rows of both."""
    groups, _, products = kernel.matrix().shape
    positions = patches(kernel, exact[:1]).shape[1]
    share = min(1.0, most / (positions * len(exact)))
    size = max(1, CHUNK_BYTES // (4 * groups * products * positions))
    rng = np.random.default_rng(0)
    for start in range(0, len(exact), size):
        pair = [patches(kernel, values[start : start + size]) for values in (exact, rounded)]
        count = pair[0].shape[1]
        if share < 1:
            taken = np.sort(rng.permutation(count)[: max(1, round(share * count))])
            pair = [np.ascontiguousarray(rows[:, taken]) for rows in pair]
        yield pair[0], pair[1]


def patches(kernel: Kernel, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the kernel multiplies its weights with, float32 (groups, rows, products).

    Args:
        kernel: gives window, stride, dilation and padding.
        inputs: (n, ...), a convolution's (n, height, width, channels).
    """
    if kernel.operator.name == "FULLY_CONNECTED":
        return inputs.reshape(1, -1, kernel.weights.shape[-1])
    images = inputs.reshape(-1, *inputs.shape[-3:])
    (top, rows, y_step, y_gap), (left, columns, x_step, x_gap) = (
        _placement(kernel, images.shape[axis], axis) for axis in (1, 2)
    )
    height, width = kernel.weights.shape[1:3]
    below = (rows - 1) * y_step + (height - 1) * y_gap + 1 - images.shape[1] - top
    right = (columns - 1) * x_step + (width - 1) * x_gap + 1 - images.shape[2] - left
    padded = np.pad(images, [(0, 0), (top, max(below, 0)), (left, max(right, 0)), (0, 0)])
    found = np.empty((len(images), rows, columns, height, width, images.shape[3]), np.float32)
    for y in range(height):
        for x in range(width):
            at_y, at_x = y * y_gap, x * x_gap
            found[:, :, :, y, x] = padded[
                :,
                at_y : at_y + (rows - 1) * y_step + 1 : y_step,
                at_x : at_x + (columns - 1) * x_step + 1 : x_step,
            ]
    by_group = found.reshape(-1, height * width, kernel.groups, images.shape[3] // kernel.groups)
    by_group = np.ascontiguousarray(by_group.transpose(2, 0, 1, 3))
    return by_group.reshape(kernel.groups, len(by_group[0]), -1)


def _placement(kernel: Kernel, size: int, axis: int) -> tuple[int, int, int, int]:
    """Return the padding before an axis of the image, and outputs, stride and dilation along it."""
    side, options = "HW"[axis - 1], kernel.operator.options
    stride, dilation = options[f"Stride{side}"], options[f"Dilation{side}Factor"]
    reach = (kernel.weights.shape[axis] - 1) * dilation + 1
    if options["Padding"] != _SAME:
        return 0, (size - reach) // stride + 1, stride, dilation
    outputs = -(-size // stride)
    return max((outputs - 1) * stride + reach - size, 0) // 2, outputs, stride, dilation
