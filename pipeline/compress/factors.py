"""Kernels as products of smaller ones, on NumPy arrays: truncated SVD, spatial SVD and Tucker-2.

A kernel is float32, (inputs, outputs) of a dense layer or (height, width, inputs, outputs) of a convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pipeline.costing.macs import ONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pipeline.costing.macs import Positions

    Floats = NDArray[np.floating[Any]]

Method = Literal["SVD", "spatial SVD", "Tucker-2"]
Ranks = tuple[int, ...]

# int8 kernels compute 8 channels or a multiple at once; other ranks cost the time of the next multiple.
RANK_STEP = 8
# Of the share of squares that is kept: singular values are rounded.
_ROUNDING = 1e-9


class Factor(NamedTuple):
    """One of the kernels whose product a kernel is.

    Attributes:
        role: names its layer; "" for the last one, which keeps the name of the layer that it replaces.
        values: the kernel.
        axes: those of height (0) and width (1) along which it takes over strides and dilation.
    """

    role: str
    values: NDArray[np.float32]
    axes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Decomposition:
    """What one method makes of a kernel with each choice of ranks.

    Attributes:
        full: the ranks with which it is exact.
        kept: float64, of shape ``full``: the share of the kernel's squares that ranks (r, s) keep is at
            [r - 1, s - 1].
        macs: how many multiply-accumulates ranks need at positions.
        factors: the kernels in the order in which they are applied.
    """

    method: Method
    full: Ranks
    kept: NDArray[np.float64]
    macs: Callable[[Ranks, Positions], int]
    factors: Callable[[Ranks], tuple[Factor, ...]]

    def cheapest(self, energy: float, positions: Positions) -> Ranks:
        """Return the ranks with fewest multiply-accumulates that keep this share of the squares.

        They are multiples of ``RANK_STEP``, or full.
        """
        enough = (ranks for ranks in self._ranks() if self.share_kept(ranks) >= energy - _ROUNDING)
        return min(enough, key=lambda ranks: self.macs(ranks, positions))

    def share_kept(self, ranks: Ranks) -> float:
        return float(self.kept[tuple(rank - 1 for rank in ranks)])

    def weights(self, ranks: Ranks) -> int:
        return self.macs(ranks, ONE)

    def _ranks(self) -> Iterator[Ranks]:
        return product(*((*range(RANK_STEP, full, RANK_STEP), full) for full in self.full))


def svd(kernel: Floats) -> Decomposition:
    """Decompose the kernel of a dense layer or of a 1x1 convolution into two of the same kind."""
    *window, inputs, outputs = kernel.shape
    left, right, kept = _singular(kernel.reshape(inputs, outputs))

    def factors(ranks: Ranks) -> tuple[Factor, ...]:
        [rank] = ranks
        first = left[:, :rank].reshape(*window, inputs, rank)
        return (
            Factor("reduce", _single(first), (0, 1)),
            Factor("", _single(right[:rank].reshape(*window, rank, outputs))),
        )

    def macs(ranks: Ranks, positions: Positions) -> int:
        return positions.after * ranks[0] * (inputs + outputs)

    return Decomposition("SVD", kept.shape, kept, macs, factors)


def spatial(kernel: Floats) -> Decomposition:
    """Decompose a convolution into a vertical and a horizontal one.

    The scheme of Jaderberg et al. (2014, arXiv:1405.3866, section 2.2), with the filters of least squared
    error: the SVD of the kernel with height and inputs as rows, width and outputs as columns (Tai et al.,
    2015, arXiv:1511.06067, theorem 1).
    """
    height, width, inputs, outputs = kernel.shape
    left, right, kept = _singular(kernel.transpose(0, 2, 1, 3).reshape(height * inputs, width * outputs))

    def factors(ranks: Ranks) -> tuple[Factor, ...]:
        [rank] = ranks
        vertical = left[:, :rank].reshape(height, 1, inputs, rank)
        horizontal = right[:rank].reshape(1, rank, width, outputs).swapaxes(1, 2)
        return (
            Factor("vertical", _single(vertical), (0,)),
            Factor("", _single(horizontal), (1,)),
        )

    def macs(ranks: Ranks, positions: Positions) -> int:
        [rank] = ranks
        return rank * (positions.between * height * inputs + positions.after * width * outputs)

    return Decomposition("spatial SVD", kept.shape, kept, macs, factors)


def tucker(kernel: Floats) -> Decomposition:
    """Decompose a convolution into a 1x1, a small one of the same window, and a 1x1 convolution.

    Tucker-2 of Kim et al. (2016, arXiv:1511.06530, section 3.1), by the SVD of the kernel unfolded along its
    inputs and along its outputs.
    """
    height, width, inputs, outputs = kernel.shape
    exact = kernel.astype(np.float64)
    of_inputs = np.linalg.svd(np.moveaxis(exact, 2, 0).reshape(inputs, -1), full_matrices=False)[0]
    of_outputs = np.linalg.svd(np.moveaxis(exact, 3, 0).reshape(outputs, -1), full_matrices=False)[0]
    core = np.einsum("hwio,ir,os->hwrs", exact, of_inputs, of_outputs)
    # The columns are orthonormal, so the squares of a part of the core are those that it keeps of the kernel.
    kept = _shares(np.square(core).sum(axis=(0, 1)).cumsum(axis=0).cumsum(axis=1))

    def factors(ranks: Ranks) -> tuple[Factor, ...]:
        first, second = ranks
        return (
            Factor("reduce", _single(of_inputs[:, :first][None, None])),
            Factor("core", _single(core[:, :, :first, :second]), (0, 1)),
            Factor("", _single(of_outputs[:, :second].T[None, None])),
        )

    def macs(ranks: Ranks, positions: Positions) -> int:
        first, second = ranks
        after = height * width * first * second + second * outputs
        return positions.before * inputs * first + positions.after * after

    return Decomposition("Tucker-2", kept.shape, kept, macs, factors)


def _singular(matrix: Floats) -> tuple[Floats, Floats, NDArray[np.float64]]:
    """Return two factors of a matrix with equal shares of its singular values, and what each rank keeps."""
    left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    root = np.sqrt(values)
    return left * root, root[:, None] * right, _shares(np.square(values).cumsum())


def _shares(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cumulative sums as shares of the last one; of a kernel that is all zero, all ranks keep all."""
    total = float(sums.flat[-1])
    return np.asarray(sums / total if total else np.ones_like(sums), np.float64)


def _single(values: Floats) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)
