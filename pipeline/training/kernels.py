"""Kernels of Keras layers as columns, one for each output channel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Kernel(NamedTuple):
    """A kernel in a layer.

    Attributes:
        variable: of any shape.
        axes: those along which its output channels lie.
    """

    variable: Any
    axes: tuple[int, ...]

    def columns(self) -> NDArray[np.float32]:
        """Return a copy of its values, (n, channels)."""
        values = self.variable.numpy()
        moved = np.moveaxis(values, self.axes, range(-len(self.axes), 0))
        channels = math.prod(values.shape[axis] for axis in self.axes)
        return np.array(moved.reshape(-1, channels), np.float32)

    def assign(self, columns: NDArray[np.float32]) -> None:
        """Set its values from (n, channels)."""
        self.variable.assign(self.in_shape(columns))

    def in_shape(self, columns: NDArray[Any]) -> NDArray[Any]:
        """Return (n, channels) in the kernel's shape."""
        shape = tuple(self.variable.shape)
        channels = tuple(shape[axis] for axis in self.axes)
        rest = tuple(size for axis, size in enumerate(shape) if axis - len(shape) not in self.axes)
        moved = columns.reshape(*rest, *channels)
        return np.moveaxis(moved, range(-len(self.axes), 0), self.axes)


def kernels_of(layer: Any) -> tuple[Kernel, ...]:
    """Return the kernels of a convolution, a dense or a recurrent layer; nothing of another one."""
    cell = getattr(layer, "cell", layer)
    if hasattr(cell, "depthwise_kernel"):
        return (Kernel(cell.depthwise_kernel, (-2, -1)),)
    axes = (-2,) if type(layer).__name__.endswith("Transpose") else (-1,)
    names = ("kernel", "recurrent_kernel")
    return tuple(Kernel(getattr(cell, name), axes) for name in names if hasattr(cell, name))


def distinct_values(columns: NDArray[np.generic]) -> int:
    """Return how many distinct values the columns of (n, channels) have, added up over the channels."""
    ordered = np.sort(columns, axis=0)
    return int(columns.shape[1] + np.count_nonzero(ordered[1:] != ordered[:-1]))
