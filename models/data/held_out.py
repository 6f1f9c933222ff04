"""Which training samples are held out: no training sees them, and choices between models are made on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.data.splits import make_split, split_groups, split_time
from models.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]

SHARE = 0.1
MAX_SAMPLES = 5000
# With fewer, a difference between two models says nothing, and training needs every sample.
MIN_SAMPLES = 40
_WINDOWS = 10  # in a block of samples that overlap, of which one is not shared with the next block


def hold_out(
    train: Indices,
    *,
    strata: Indices,
    digests: NDArray[np.uint64],
    groups: Indices | None,
    overlap: int,
    by_time: bool,
    seed: int,
) -> tuple[Indices, Indices]:
    """Choose a tenth of the training samples, as a test set would be chosen: by group, in time, or at random.

    Args:
        train: rows to train on, ascending.
        strata: ``(n,)``, of all rows, the class of each sample or what stands for it.
        digests: ``(n,)``, equal for equal samples, which stay on one side.
        groups: ``(n,)``, the number of each sample's group; None if there are no groups.
        overlap: how many samples after one share values with it, as windows of a series do.
        by_time: whether the test samples are the last ones.
        seed: of the choice.

    Returns:
        Rows to train on, and rows that are held out: none of a small data set, or of samples that are all
        equal.
    """
    fraction = min(SHARE, MAX_SAMPLES / max(len(train), 1))
    nothing = train, train[:0]
    if round(fraction * len(train)) < MIN_SAMPLES:
        return nothing
    if by_time and groups is None:
        fit, held_out = split_time(len(train), fraction, overlap)
        return train[fit], train[held_out]
    if groups is not None:
        _, parts = np.unique(groups[train], return_inverse=True)
    else:
        parts = np.arange(len(train)) // (_WINDOWS * overlap) if overlap else np.arange(len(train))
    try:
        if 1 < len(np.unique(parts)) < len(train):
            fit, held_out = split_groups(strata[train], parts.astype(np.int64), fraction, seed)
        else:
            fit, held_out = make_split(strata[train], digests[train], fraction, seed)
    except DataError:
        return nothing
    return train[fit], train[held_out]


def given(
    validation: Indices, test: Indices, digests: NDArray[np.uint64], anomalous: NDArray[Any], seed: int
) -> Indices:
    """Return the user's own validation samples, as many as may be held out, or none of too few.

    Samples that are tested on, and anomalies, are left out.
    """
    fit = validation[~np.isin(digests[validation], digests[test]) & ~anomalous[validation]]
    if len(fit) < MIN_SAMPLES:
        return fit[:0]
    return np.sort(np.random.default_rng(seed).permutation(fit)[:MAX_SAMPLES])
