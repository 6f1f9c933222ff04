"""Cheap features of raw samples, in which similar samples are near each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Features = NDArray[np.float32]

SIDE = 16
"""Longest axis of a sample after down-sampling."""
PROJECTED = 32
IDS = 4096
"""Larger indices share a vector with a smaller one."""
FAR = 6.0
"""Largest scaled feature, in interquartile ranges from the median: an outlier must not hide other samples."""


def features_of(inputs: Sequence[Array], indices: Sequence[bool] = ()) -> Features:
    """Return features of a chunk of samples; equal samples have equal features in every chunk.

    Images and series are averaged down to at most 16 positions an axis. More than 32 values a sample are
    reduced by a random projection, which nearly keeps distances (Johnson and Lindenstrauss 1984; Dasgupta and
    Gupta 2003). The smallest and largest value, mean and standard deviation of a sample are features, too,
    because ranges depend on them.

    Args:
        inputs: for each of the model's inputs raw samples (n, ...).
        indices: for each of the inputs whether it holds indices; all False if empty.

    Returns:
        float32 (n, features), not yet scaled.
    """
    flags = indices or [False] * len(inputs)
    return np.concatenate(
        [_bag(values) if ids else _values(values) for values, ids in zip(inputs, flags, strict=True)], axis=1
    )


def scaled(features: Features) -> Features:
    """Return features that weigh the same: by their median and interquartile range over these samples."""
    low, middle, high = np.quantile(features, [0.25, 0.5, 0.75], axis=0)
    width = np.where(high > low, high - low, features.std(axis=0))
    shifted = (features - middle) / np.where(width > 0, width, 1)
    found: Features = np.clip(shifted, -FAR, FAR).astype(np.float32)
    return found


def _values(samples: Array) -> Features:
    flat = _down_sampled(samples)
    raw = samples.reshape(len(samples), -1).astype(np.float32)
    extremes = np.stack([raw.min(axis=1), raw.max(axis=1), raw.mean(axis=1), raw.std(axis=1)], axis=1)
    return np.concatenate([_projected(flat), extremes], axis=1)


def _down_sampled(samples: Array) -> Features:
    found = samples.astype(np.float32)
    for axis in range(1, samples.ndim - 1):
        if found.shape[axis] > SIDE:
            edges = np.linspace(0, found.shape[axis], SIDE + 1).astype(int)
            shape = [-1 if at == axis else 1 for at in range(found.ndim)]
            found = np.add.reduceat(found, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)
    return found.reshape(len(found), -1).astype(np.float32)


def _projected(flat: Features) -> Features:
    if flat.shape[1] <= PROJECTED:
        return flat
    matrix = np.random.default_rng(0).standard_normal((flat.shape[1], PROJECTED), np.float32)
    return flat @ (matrix / np.float32(np.sqrt(PROJECTED)))


def _bag(samples: Array) -> Features:
    """Return the mean of a random vector for each index: near for samples that share indices."""
    flat = samples.reshape(len(samples), -1).astype(np.int64) % IDS
    vectors = np.random.default_rng(0).standard_normal((IDS, PROJECTED), np.float32)
    return np.stack([vectors[row].mean(axis=0) for row in flat])
