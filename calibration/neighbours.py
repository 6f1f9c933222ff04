"""Find samples of one set that are nearly equal to samples of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

MIN_VALUES = 12
"""Shorter samples are often alike by chance."""
CANDIDATES = 3
"""Nearest samples in feature space whose values are compared."""
NEARLY_EQUAL = 0.05
"""Largest root mean square difference, in standard deviations of each channel."""


class Nearest(NamedTuple):
    """For each sample of the first set the candidates of the second one that are nearest to it.

    Attributes:
        distances: float32 (k, candidates), squared, in feature space.
        rows: int64 (k, candidates) of the second set; -1 if there are fewer.
    """

    distances: NDArray[np.float32]
    rows: NDArray[np.int64]

    @classmethod
    def none(cls, samples: int) -> Nearest:
        """Return the start of a search."""
        shape = (samples, CANDIDATES)
        return cls(np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int64))

    def among(self, ours: NDArray[np.float32], theirs: NDArray[np.float32], rows: Array) -> Nearest:
        """Return the nearest after a further chunk of the second set.

        Args:
            ours: float32 (k, features) of the first set, from ``calibration.features.features_of``.
            theirs: float32 (n, features) of the chunk.
            rows: int64 (n,) of the chunk.
        """
        scale = ours.std(axis=0)
        scale[scale == 0] = 1
        a, b = ours / scale, theirs / scale
        found = (a**2).sum(axis=1)[:, None] - 2 * a @ b.T + (b**2).sum(axis=1)
        distances = np.concatenate([self.distances, found.astype(np.float32)], axis=1)
        every = np.concatenate([self.rows, np.broadcast_to(rows, found.shape)], axis=1)
        best = np.argsort(distances, axis=1, kind="stable")[:, :CANDIDATES]
        return Nearest(np.take_along_axis(distances, best, 1), np.take_along_axis(every, best, 1))


def nearly_equal(
    ours: Sequence[Array], theirs: Sequence[Array], spreads: Sequence[Array]
) -> NDArray[np.bool_]:
    """Return for each pair of samples whether they are nearly equal in all inputs, bool (n,).

    Args:
        ours: for each input raw samples (n, ...).
        theirs: for each input the samples to compare them with, (n, ...).
        spreads: for each input the standard deviation of each channel, (channels,); indices have 0: they must
            be equal.
    """
    same = np.ones(len(ours[0]), bool)
    for one, other, spread in zip(ours, theirs, spreads, strict=True):
        difference = (one.astype(np.float32) - other.astype(np.float32)) / np.where(spread > 0, spread, 1e-9)
        same &= np.sqrt((difference**2).reshape(len(same), -1).mean(axis=1)) <= NEARLY_EQUAL
    return same
