"""Which samples are for training and which for testing, as row indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]
    Digests = NDArray[np.uint64]

BINS = 10  # for the targets of a regression, of equal size
MIN_KEPT = 0.1  # share of training samples left after removing test samples
MIN_PER_CLASS = 2  # of those, on average
TRIES = 100  # random choices of groups; the most even one is taken
_TRY_CELLS = 4_000_000  # groups times classes times tries


def bins(values: NDArray[Any]) -> Indices:
    """Number the tenths of the values, from the lowest: strata for numbers."""
    edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, values).astype(np.int64)


def make_split(strata: Indices, digests: Digests, test_fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Choose test samples: a fraction of each stratum, but not all of it. Equal samples stay on one side.

    Args:
        strata: ``(n,)``, the class of each sample or what stands for it.
        digests: ``(n,)``, equal for equal samples.
        test_fraction: between 0 and 1.
        seed: of the choice.

    Returns:
        Rows to train on and rows to test on, ascending.

    Raises:
        DataError: there are too few different samples.
    """
    _, first, group = np.unique(digests, return_index=True, return_inverse=True)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(first), bool)
    labels = strata[first]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        test_size = min(max(round(test_fraction * len(members)), 1), len(members) - 1)
        chosen[rng.permutation(members)[:test_size]] = True
    if not chosen.any():  # every stratum has one member
        test_size = min(max(round(test_fraction * len(first)), 1), len(first) - 1)
        chosen[rng.permutation(len(first))[:test_size]] = True
    test = chosen[group]
    if test.all() or not test.any():
        msg = f"{len(first)} different samples cannot be split into training and test; give more"
        raise DataError(msg)
    return np.flatnonzero(~test), np.flatnonzero(test)


def split_groups(
    strata: Indices, groups: Indices, test_fraction: float, seed: int
) -> tuple[Indices, Indices]:
    """Choose whole groups to test on, such that every class has about its fraction there.

    Args:
        strata: ``(n,)``, the class of each sample or what stands for it.
        groups: ``(n,)``, the number of each sample's group, from 0 without a gap.
        test_fraction: between 0 and 1.
        seed: of the choice.

    Returns:
        Rows to train on and rows to test on, ascending.

    Raises:
        DataError: there are fewer than two groups, or as many as samples, or a class would not be trained on.
    """
    count = int(groups.max()) + 1
    if count < 2:
        msg = "all samples are of one group; a split by group needs at least two"
        raise DataError(msg)
    if count == len(groups):
        msg = f"{count} samples in {count} groups: each sample is a group of its own; name what several share"
        raise DataError(msg)
    _, labels = np.unique(strata, return_inverse=True)
    counts = np.zeros((count, int(labels.max()) + 1), np.int64)
    np.add.at(counts, (groups, labels), 1)
    totals = counts.sum(axis=0)
    rng = np.random.default_rng(seed)
    best, chosen = np.inf, np.zeros(count, bool)
    for _ in range(int(np.clip(_TRY_CELLS // counts.size, 1, TRIES))):
        order = rng.permutation(count)
        sizes = counts[order].sum(axis=1).cumsum()
        taken = 1 + int(np.abs(sizes[:-1] - test_fraction * len(groups)).argmin())
        tested = counts[order[:taken]].sum(axis=0)
        untrained = len(groups) * np.count_nonzero(tested == totals)
        uneven = np.abs(tested - test_fraction * totals).sum() + untrained
        if uneven < best:
            best, chosen = uneven, np.isin(np.arange(count), order[:taken])
    test = chosen[groups]
    if not np.isin(labels, labels[~test]).all():
        msg = f"the {count} groups cannot be split so that every class is trained on; give more groups"
        raise DataError(msg)
    return np.flatnonzero(~test), np.flatnonzero(test)


def split_time(count: int, test_fraction: float, gap: int) -> tuple[Indices, Indices]:
    """Test on the last samples and train on those before, but for the ``gap`` samples between them.

    Raises:
        DataError: too few samples are left to train on.
    """
    tested = min(max(round(test_fraction * count), 1), count - 1)
    trained = count - tested - gap
    if trained < 1 or tested < 1:
        msg = f"{count} samples cannot be split in time with {gap} between training and test; give more"
        raise DataError(msg)
    return np.arange(trained), np.arange(count - tested, count)


def without_shared(
    train: Indices, test: Indices, digests: Digests, classes: Indices | None = None
) -> tuple[Indices, int]:
    """Leave out the training samples that are test samples too.

    Args:
        train: rows to train on.
        test: rows to test on.
        digests: ``(n,)``, equal for equal samples.
        classes: ``(n,)``, the class of each sample; None if there are none.

    Returns:
        The others, and how many were left out.

    Raises:
        DataError: too few are left to train on.
    """
    shared = np.isin(digests[train], digests[test])
    count, left = int(shared.sum()), train[~shared]
    if not count:
        return left, 0
    before = np.zeros(1, np.int64) if classes is None else np.unique(classes[train])
    after = before if classes is None else np.unique(classes[left])
    minimum = max(int(np.ceil(MIN_KEPT * len(train))), MIN_PER_CLASS * len(before))
    if len(left) < minimum or len(after) < len(before):
        lost = f" and {len(before) - len(after)} classes would have none" if len(after) < len(before) else ""
        msg = (
            f"{count} of {len(train)} training samples are also test samples; without them {len(left)} are "
            f"left, at least {minimum} are needed{lost}; remove them from the test samples, or give one set "
            "to have it split"
        )
        raise DataError(msg)
    return left, count
