"""Which samples no training sees, so that choices between models can be made on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models.data.splits import make_split, split_groups, split_time
from models.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]

SHARE = 0.1
MAX_SAMPLES = 5000
SHARE_SET_ASIDE = 1 / 3
MAX_SET_ASIDE = 2000
# With fewer, a difference between two models says nothing, and training needs every sample.
MIN_SAMPLES = 40
_WINDOWS = 10  # in a block of samples that overlap, of which one is not shared with the next block


class Kinship(NamedTuple):
    """Which samples belong together, of all rows.

    Attributes:
        strata: ``(n,)``, the class of each sample or what stands for it.
        digests: ``(n,)``, equal for equal samples, which stay on one side.
        groups: ``(n,)``, the number of each sample's group; None if there are no groups.
        overlap: how many samples after one share values with it, as windows of a series do.
        by_time: whether later samples are tested on.
    """

    strata: Indices
    digests: NDArray[np.uint64]
    groups: Indices | None
    overlap: int
    by_time: bool


def hold_out(train: Indices, kinship: Kinship, seed: int) -> tuple[Indices, Indices]:
    """Choose a tenth of the training samples.

    Args:
        train: rows to train on, ascending.
        seed: of the choice.

    Returns:
        Rows to train on, and rows that are held out: none of a small data set, or of samples that are all
        equal.
    """
    share = min(SHARE, MAX_SAMPLES / max(len(train), 1))
    return _split(train, share, kinship, seed) or (train, train[:0])


def set_aside(
    test: Indices, anomalous: NDArray[np.bool_], kinship: Kinship, seed: int
) -> tuple[Indices, Indices]:
    """Choose a third of the test samples, without anomalies.

    Args:
        test: rows to test on, ascending.
        anomalous: ``(n,)``, of all rows.
        seed: of the choice.

    Returns:
        Rows that may be set aside for choices, and those to test on then, which have every class and share
        no values with them. None are set aside of a small data set, and where that is not possible.
    """
    rows = test[~anomalous[test]]
    share = min(SHARE_SET_ASIDE, MAX_SET_ASIDE / max(len(rows), 1))
    if kinship.groups is None and (kinship.by_time or kinship.overlap):
        aside = rows[: round(share * len(rows))]
        rest = test[_distances(test, aside) > kinship.overlap]
    else:
        _, aside = _split(rows, share, kinship, seed) or (rows, rows[:0])
        rest = np.setdiff1d(test, aside)
    fits = MIN_SAMPLES <= len(aside) <= min(len(test) / 2, len(rest))
    has_all = len(np.unique(kinship.strata[rest])) == len(np.unique(kinship.strata[test]))
    return (aside, rest) if fits and has_all else (test[:0], test)


def _split(rows: Indices, fraction: float, kinship: Kinship, seed: int) -> tuple[Indices, Indices] | None:
    """Split rows as a test set would be chosen: by group, in time, or at random; None if they are too few."""
    count, groups = len(rows), kinship.groups
    if round(fraction * count) < MIN_SAMPLES:
        return None
    if kinship.by_time and groups is None:
        return _in_time(rows, fraction, kinship.overlap)
    if groups is not None:
        _, parts = np.unique(groups[rows], return_inverse=True)
    else:
        parts = np.arange(count) // (_WINDOWS * kinship.overlap) if kinship.overlap else np.arange(count)
    strata = kinship.strata[rows]
    try:
        if 1 < len(np.unique(parts)) < count:
            first, second = split_groups(strata, parts.astype(np.int64), fraction, seed)
        else:
            first, second = make_split(strata, kinship.digests[rows], fraction, seed)
    except DataError:
        return None
    return rows[first], rows[second]


def _in_time(rows: Indices, fraction: float, overlap: int) -> tuple[Indices, Indices] | None:
    """Split rows such that the last ones are the second part, without those between that overlap it."""
    try:
        first, second = split_time(len(rows), fraction, overlap)
    except DataError:
        return None
    return rows[first], rows[second]


def _distances(rows: Indices, others: Indices) -> NDArray[np.float64]:
    """Return how far each row is from the nearest of some others, ascending; infinitely without any."""
    edges = np.concatenate([[-np.inf], others, [np.inf]])
    after = np.searchsorted(edges, rows)
    return np.minimum(rows - edges[after - 1], edges[after] - rows)


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
